"""Forms that are hostile, endless, or as large as a body may be: refused with a reason, while
another user is answered, the loop goes on and memory is bounded.
"""

import json
import os
import socket

import pytest

from tests.fleet.drawing import DRAWS, MODEL
from tests.fleet.pictures import picture
from tests.security.another_user import AnotherUser
from tests.security.probed_fleet import PAUSE_S_MAX, ProbedFleet
from tests.security.test_pictures import png

PATH = "/v1/images/edits"
TYPE = "multipart/form-data; boundary=x7"
MIB = 2**20

HELD_SIZES_MAX = 4
"""The parts as they arrive, and one of them put together."""


def part(head: str, data: bytes) -> bytes:
    return b"--x7\r\ncontent-disposition: form-data; %b\r\n\r\n%b\r\n" % (head.encode(), data)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--x7--\r\n"


def image(data: bytes) -> bytes:
    return part('name="image"; filename="a.png"', data)


PROMPT = part('name="prompt"', b"x") + part('name="model"', MODEL.encode())
HEADERS = b"".join(b"x-%d: y\r\n" % number for number in range(200_000))

ATTACKS = {
    "no boundary in it": (os.urandom(8 * MIB), "RFC 7578"),
    "near boundaries": (form(image(b"\r\n--x7x" * (5 * MIB))), "parts"),
    "halves of boundaries": (form(PROMPT, image(b"\r\n--x" * (4 * MIB))), "is not PNG"),
    "carriage returns": (form(PROMPT, image(b"\r" * (20 * MIB))), "is not PNG"),
    "a header without end": (b"--x7\r\nx: " + b"y" * (20 * MIB), "header size"),
    "many headers": (b"--x7\r\n" + HEADERS, "header count"),
    "many parts": (form(*[part('name="n"', b"1")] * 100_000), "parts"),
    "a long name": (form(part(f'name="{"a" * 3_000}"', b"1"), PROMPT), "'image'"),
    "a deep name": (form(part(f'name="nvext{"[a]" * 900}"', b"1"), PROMPT), "brackets"),
    "a bomb": (form(PROMPT, image(png(100_000, 100_000))), "pixels"),
    "a file too large": (form(PROMPT, image(png(9, 9, 30 * MIB))), "at most"),
    "a text too large": (form(part('name="prompt"', b"x" * (20 * MIB))), "32000"),
    "seventeen": (form(PROMPT, *[image(picture("red", (8, 8)))] * 17), "at most 16"),
    "no end": (form(PROMPT)[:-6], "ends before"),
}


@pytest.fixture(scope="module")
def drawing(probed: ProbedFleet) -> ProbedFleet:
    """With a worker that draws."""
    probed.fleet.worker(*DRAWS, "--sim-step-ms", "0")
    probed.fleet.wait_for_workers(3)
    return probed


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_forms_cost_nobody(drawing: ProbedFleet, name: str) -> None:
    body, says = ATTACKS[name]
    with AnotherUser(drawing.fleet):
        drawing.begin()
        status, answer = drawing.post(PATH, body, **{"content-type": TYPE})
        measured = drawing.measured(status, 0.0, len(body))
    error = json.loads(answer)["error"]
    assert status == 400, error
    assert says in error["message"], error
    assert measured.own_pause_s < PAUSE_S_MAX, str(measured)
    assert measured.held_bytes < max(64 * MIB, HELD_SIZES_MAX * len(body)), str(measured)


def test_a_form_that_never_ends_is_given_up(drawing: ProbedFleet) -> None:
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: {TYPE}\r\n"
        "content-length: 1000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", drawing.fleet.http_port), timeout=30) as slow:
        slow.sendall(head.encode() + part('name="prompt"', b"x")[:-1])
        with AnotherUser(drawing.fleet):
            said = slow.recv(65_536)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in said


def test_a_page_of_another_site_sends_no_forms(drawing: ProbedFleet) -> None:
    """A browser asks nobody whether a page may."""
    headers = {"content-type": TYPE, "origin": "https://evil.example"}
    status, _ = drawing.post(PATH, form(PROMPT), **headers)
    assert status in (403, 415)
