"""Clients that misbehave: HTTP by hand over a socket, since a library would not leave in the
middle.
"""

import json
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from starter.pages import http_metric
from tests.kit.fleet import Fleet

COMPLETIONS = "/v1/completions"


def request_bytes(body: dict[str, Any], *headers: str, path: str = COMPLETIONS) -> bytes:
    """A whole POST."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"content-length: {len(content)}",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + content


def connected(fleet: Fleet, *, receive_bytes: int | None = None) -> socket.socket:
    """A connection to the frontend; `receive_bytes` bounds what the kernel takes for a client that
    does not read.
    """
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", fleet.http_port))
    return connection


def asked(fleet: Fleet, body: dict[str, Any], *headers: str) -> socket.socket:
    """A connection on which this was asked."""
    connection = connected(fleet)
    connection.sendall(request_bytes(body, *headers))
    return connection


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server closes.

    Raises:
        ConnectionResetError: it was cut.
    """
    pieces: list[bytes] = []
    while piece := connection.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


def one_answer(connection: socket.socket) -> bytes:
    """One whole answer with a content-length, from a connection that stays open."""
    answer = b""
    while b"\r\n\r\n" not in answer or len(parsed(answer)[2]) < int(
        parsed(answer)[1]["content-length"]
    ):
        piece = connection.recv(65_536)
        assert piece, answer
        answer += piece
    return answer


def parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer that is not chunked."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return (
        int(first.split()[1]),
        {name: value for name, _, value in (line.partition(": ") for line in lines)},
        body,
    )


def events_of(answer: bytes) -> list[str]:
    """The data of the server-sent events of a chunked answer."""
    _, _, body = answer.partition(b"\r\n\r\n")
    plain = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        plain, body = plain + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return [event.removeprefix("data: ") for event in plain.decode().split("\n\n") if event]


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


WAYS_TO_LEAVE: Final[dict[str, Callable[[socket.socket], None]]] = {
    "closes": socket.socket.close,
    "resets": _reset,
    "closes its half": lambda connection: connection.shutdown(socket.SHUT_WR),
}


def metric(fleet: Fleet, name: str, **labels: str) -> float:
    """The sum of a metric over all label sets that have these."""
    return http_metric(fleet.url, name, **labels)


def requests_running(fleet: Fleet) -> int:
    """On all workers, as the frontend knows it and the engines tell."""
    return sum(sum(worker["requests"]) for worker in fleet.get("/health")[1]["workers"])
