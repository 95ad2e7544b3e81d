"""Pictures that are bombs, damaged, endless or as large as a body may be: refused by their part, or
served, while another user is answered and memory is bounded.
"""

import base64
import json
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fleet.pictures import picture
from tests.security.another_user import AnotherUser
from tests.security.probed_fleet import ProbedFleet
from workers.demo_model import demo_model_dir

OWN_PAUSE_S_MAX = 0.2
"""The parser's pass over 40 MB and a copy for each frame of 20 MB to the worker."""

HELD_SIZES_MAX = 8
"""The body, its text, the bytes, and the frames that wait to be sent."""

MIB = 2**20

BODIES_AT_ONCE = 24


@pytest.fixture(scope="module")
def seeing(probed: ProbedFleet) -> ProbedFleet:
    """With a worker that sees."""
    probed.fleet.worker(
        *("--model-path", str(demo_model_dir("vision")), "--served-model-name", "sees"),
        *("--sim-speedup", "0", "--context-length", "32768"),
    )
    probed.fleet.wait_for_workers(3)
    return probed


def chat(*pictures: bytes) -> bytes:
    content = [
        {
            "type": "image_url",
            "image_url": {"url": "data:image/png;base64," + base64.b64encode(each).decode()},
        }
        for each in pictures
    ]
    body = {"model": "sees", "messages": [{"role": "user", "content": content}], "max_tokens": 4}
    return json.dumps(body).encode()


def png(width: int, height: int, data_bytes: int = 0) -> bytes:
    """A header that claims a size, and so much behind it that no decoder would take."""
    chunks = (
        b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0),
        b"IDAT" + os.urandom(data_bytes),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


ATTACKS = {
    "a bomb": ([png(100_000, 100_000)], "pixels"),
    "marks without end": ([b"\xff\xd8" + b"\xff\xe5\0\2" * (4 * MIB)], "damaged"),
    "no picture": ([os.urandom(15 * MIB)], "is not PNG"),
    "too large": ([png(100, 100, 30 * MIB)], "at most"),
    "too many": ([picture("red", (8, 8))] * 257, "at most 256"),
    "a bomb behind many": ([*[picture("red", (8, 8))] * 200, png(60_000, 60_000)], "pixels"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_cannot_be_seen_costs_nobody(seeing: ProbedFleet, name: str) -> None:
    pictures, says = ATTACKS[name]
    body = chat(*pictures)
    with AnotherUser(seeing.fleet):
        seeing.begin()
        status, answer = seeing.post("/v1/chat/completions", body)
        measured = seeing.measured(status, 0.0, len(body))
    error = json.loads(answer)["error"]
    assert status == 400, error
    assert says in error["message"]
    assert error["param"] == f"messages[0].content[{len(pictures) - 1}].image_url.url"
    assert measured.own_pause_s < OWN_PAUSE_S_MAX, str(measured)
    assert measured.held_bytes < max(64 * MIB, HELD_SIZES_MAX * len(body)), str(measured)


def test_what_many_large_bodies_took_is_given_back(seeing: ProbedFleet) -> None:
    body = chat(*[png(2_000, 2_000, 16 * MIB)] * 2)
    with AnotherUser(seeing.fleet):
        seeing.begin()
        before = seeing.held_now_bytes
        with ThreadPoolExecutor(BODIES_AT_ONCE) as threads:
            answers = list(
                threads.map(
                    lambda _: seeing.post("/v1/chat/completions", body), range(BODIES_AT_ONCE)
                )
            )
        assert {status for status, _ in answers} <= {200, 503, 0}
        seeing.fleet.wait_until(
            lambda: seeing.held_now_bytes - before < 2 * len(body), "the memory is given back"
        )


def test_a_picture_as_large_as_may_be_is_seen(seeing: ProbedFleet) -> None:
    body = chat(png(2_000, 2_000, 19 * MIB))
    with AnotherUser(seeing.fleet):
        seeing.begin()
        status, answer = seeing.post("/v1/chat/completions", body)
        measured = seeing.measured(status, 0.0, len(body))
    assert status == 200, answer[:300]
    assert measured.own_pause_s < OWN_PAUSE_S_MAX, str(measured)
    assert measured.held_bytes < HELD_SIZES_MAX * len(body), str(measured)
