"""A small client: one request a connection, bytes kept with the times they came, everything else
worked out after the end.

Parsing while tokens come would make the client the slowest part: 100 streams bring some 15,000
chunks a second.
"""

import asyncio
import json
import socket
import time
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, cast

Body = dict[str, Any]


def request_bytes(body: Body, path: str = "/v1/completions") -> bytes:
    """A whole POST whose answer ends with the connection."""
    content = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "host: bench",
        "content-type: application/json",
        "connection: close",
    ]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


@dataclass
class Answer:
    """What came back, parsed on demand. Times are monotonic seconds."""

    asked_at: float
    arrivals: list[float] = field(default_factory=list[float])
    parts: list[bytes] = field(default_factory=list[bytes])
    ended_at: float = 0.0
    refusals: list[str] = field(default_factory=list[str])
    """Why others were asked before, in HAProxy's words."""

    @property
    def begun(self) -> bool:
        """Whether anything came."""
        return bool(self.arrivals)

    @cached_property
    def _split(self) -> tuple[bytes, bytes]:
        head, _, body = b"".join(self.parts).partition(b"\r\n\r\n")
        return head, body

    @property
    def status(self) -> int:
        """HTTP's; 0 if no answer began."""
        head = self._split[0]
        return int(head.split(b" ", 2)[1]) if head else 0

    @cached_property
    def documents(self) -> list[dict[str, Any] | str]:
        """The JSON objects of the answer: one, or one an event; "[DONE]" stays a string."""
        head, body = self._split
        if b"transfer-encoding: chunked" in head.lower():
            body = _unchunked(body)
        if b"text/event-stream" not in head.lower():
            try:
                return [json.loads(body)]
            except ValueError:
                return []
        events = body.decode(errors="replace").split("\n\n")[:-1]
        data = [event.removeprefix("data: ") for event in events]
        return [event if event == "[DONE]" else json.loads(event) for event in data]

    @property
    def error(self) -> str:
        """The code of the error that ended it, "cut" if it just stopped, empty if it was
        answered.
        """
        for document in reversed(self.documents):
            if isinstance(document, dict) and document.get("error"):
                return str(document["error"]["code"])
        return "" if self.status == 200 and self.finish_reasons and self._whole else "cut"

    @property
    def _whole(self) -> bool:
        return self.documents[-1] == "[DONE]" or "usage" in self.documents[-1]

    @cached_property
    def texts(self) -> dict[int, str]:
        """Choice → its text so far."""
        texts: dict[int, str] = {}
        for choice in self._choices:
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        return texts

    @property
    def finish_reasons(self) -> dict[int, str]:
        """Choice → why it ended."""
        return {
            choice["index"]: choice["finish_reason"]
            for choice in self._choices
            if choice["finish_reason"]
        }

    @property
    def completion_tokens(self) -> int:
        """As the usage has it; 0 where there is none."""
        return next(
            (
                d["usage"]["completion_tokens"]
                for d in reversed(self.documents)
                if isinstance(d, dict) and d.get("usage")
            ),
            0,
        )

    @property
    def ttft_s(self) -> float:
        """To the first byte, which a stream gets with its first token."""
        return self.arrivals[0] - self.asked_at

    def gaps_s(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Between arrivals that follow each other, of those that ended in that time."""
        return [b - a for a, b in pairwise(self.arrivals) if since < b <= until]

    @property
    def _choices(self) -> list[Any]:
        return [
            choice
            for document in self.documents
            if isinstance(document, dict)
            for choice in document.get("choices", ())
        ]


class Call(asyncio.Protocol):
    """One request under way.

    Attributes:
        first: done with the first byte, or with the end if there is none.
        ended: done when the connection is gone.
    """

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.answer = Answer(time.monotonic())
        self.first: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Answer] = loop.create_future()
        self._request = request
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        answer = self.answer
        answer.arrivals.append(time.monotonic())
        answer.parts.append(data)
        if len(answer.arrivals) == 1:
            self.first.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base's name
        self.answer.ended_at = time.monotonic()
        if not self.first.done():
            self.first.set_result(None)
        if not self.ended.done():
            self.ended.set_result(self.answer)

    def leave(self) -> None:
        """Close the connection at once."""
        assert self._transport is not None
        self._transport.abort()


async def call(port: int, body: Body) -> Call:
    """Ask a frontend of this host. Raises OSError where nobody listens."""
    loop = asyncio.get_running_loop()
    _, made = await loop.create_connection(lambda: Call(request_bytes(body)), "127.0.0.1", port)
    return made


def ask_and_not_read(port: int, body: Body) -> socket.socket:
    """A connection on which this was asked and nothing is ever read."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(request_bytes(body))
    return connection


async def ask(port: int, body: Body) -> Answer:
    """Ask and wait for the end."""
    return await (await call(port, body)).ended


async def ask_any(ports: list[int], body: Body, *, first: int = 0) -> Answer:
    """Ask as a load balancer does that has HAProxy's "retry-on conn-failure empty-response 503":
    then it tries the next frontend.

    Raises:
        OSError: none of them listens.
    """
    refusals: list[str] = []
    refused: Answer | None = None
    for turn in range(len(ports) * 2):
        try:
            answer = await ask(ports[(first + turn) % len(ports)], body)
        except OSError:
            refusals.append("conn-failure")
            continue
        if answer.begun and answer.status != 503:
            answer.refusals = refusals
            return answer
        refusals.append("503" if answer.begun else "empty-response")
        refused = answer
    if refused is None:
        raise OSError("no frontend listens")
    return refused


def _unchunked(body: bytes) -> bytes:
    plain: list[bytes] = []
    at = 0
    while (end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:end], 16)
        plain.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(plain)
