"""Bodies that never end: they are given up, and until then they keep nobody out."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.security.another_user import AnotherUser
from tests.security.probed_fleet import ProbedFleet

BUDGET_BYTES = 8_000_000
HELD_BYTES = 900_000
"""Of each body that waits for its end: nine of them fill the budget, ten want more."""

PROGRESS_S = "2"


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbedFleet]:
    """With a budget that a few bodies fill."""
    env = {"PROBED_BODIES_BYTES": str(BUDGET_BYTES), "PROBED_PROGRESS_S": PROGRESS_S}
    fleet = ProbedFleet(tmp_path_factory.mktemp("probed"), env=env)
    yield fleet
    fleet.stop()


def unended(fleet: ProbedFleet, sent: int, announced: int) -> socket.socket:
    """A connection with a body that lacks its end."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: "
        f"application/json\r\ncontent-length: {announced}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", fleet.fleet.http_port), timeout=20)
    connection.sendall(head.encode() + b" " * sent)
    return connection


def answer(connection: socket.socket) -> bytes:
    """All that it says until it is closed."""
    said = b""
    try:
        while part := connection.recv(65536):
            said += part
    except ConnectionResetError:
        pass
    finally:
        connection.close()
    return said


def test_bodies_without_their_last_byte_make_room_and_are_given_up(probed: ProbedFleet) -> None:
    with AnotherUser(probed.fleet) as other:
        held = [unended(probed, HELD_BYTES, HELD_BYTES + 1) for _ in range(12)]
        other.wait_for_another()
        # Larger than all that is left: those that still arrive make room.
        chat = {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        assert (
            probed.post(
                "/v1/chat/completions", json.dumps(chat).encode() + b" " * (HELD_BYTES // 2)
            )[0]
            == 200
        )
        answers = [answer(connection) for connection in held]
    assert {said.split(b" ")[1] for said in answers} == {b"503", b"408"}
    assert all(b"connection: close" in said for said in answers)
    with AnotherUser(probed.fleet) as other:  # everything was given back
        assert (
            probed.post(
                "/v1/chat/completions", json.dumps(chat).encode() + b" " * (BUDGET_BYTES - 100_000)
            )[0]
            == 200
        )


def test_a_body_that_comes_slowly_but_comes_is_served(probed: ProbedFleet) -> None:
    body = json.dumps(
        {"model": "demo", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    ).encode()
    connection = unended(probed, 200_000, 200_000 + len(body))
    connection.sendall(body)
    assert b"HTTP/1.1 200" in connection.recv(65536)
    connection.close()


def test_a_long_answer_does_not_hold_the_room_of_its_body(probed: ProbedFleet) -> None:
    streaming = json.dumps(
        {
            "model": "demo",
            "messages": [{"role": "user", "content": "x"}],
            "max_tokens": 30_000,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    connections = [unended(probed, 0, len(streaming) + 3_500_000) for _ in range(4)]
    for connection in connections:
        connection.sendall(streaming + b" " * 3_500_000)
        # it streams, which frees its room for the next
        assert b"HTTP/1.1 200" in connection.recv(1_000)
    with AnotherUser(probed.fleet):
        pass
    for connection in connections:
        connection.close()
