"""Servers that an attacker's URLs lead to: they drip, redirect, and have names that change; and one
inside the house, which nobody should reach.
"""

import contextlib
import http.server
import threading
import time
from contextlib import AbstractContextManager
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, unquote

from starter.ports import free_port

HOSTILE: Final = "127.0.0.2"
GOOD: Final = "127.0.0.3"
HOUSE: Final = "127.0.0.1"
TURNING: Final = "turning.test"
"""Names below it mean HOSTILE and HOUSE by turns (bench.attacks.turning_names)."""

DRIP_S: Final = 0.2
_URLS_A_REQUEST: Final = 4


class Hostile(AbstractContextManager["Hostile"]):
    """A Hostile is the attacker's server, a good one for everybody else, and one inside the house,
    all on one port of different addresses.

    Args:
        good: what the good one answers with.
    Attributes:
        reached_inside: how often the one inside was asked.
    """

    def __init__(self, good: bytes) -> None:
        self.port = free_port()
        self.reached_inside = 0
        self._good = good
        self._servers: list[http.server.ThreadingHTTPServer] = []

    def __enter__(self) -> Self:
        for address in (HOSTILE, GOOD, HOUSE):
            server = http.server.ThreadingHTTPServer((address, self.port), self._handler(address))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self._servers.append(server)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.shutdown()

    @property
    def listed(self) -> list[str]:
        """The operator's list of hosts: the attacker is on it, as whoever rents a place there."""
        names = f"*.{TURNING}:{self.port}={HOSTILE}/32"
        return [f"{HOSTILE}:{self.port}", f"{GOOD}:{self.port}", names]

    @property
    def good(self) -> str:
        """The URL of a picture that is served at once."""
        return f"http://{GOOD}:{self.port}/picture"

    @property
    def inside(self) -> list[str]:
        """URLs that mean something in the house, each spelt out and behind a redirect."""
        house = [
            f"http://{HOUSE}:{self.port}/",
            f"http://localhost:{self.port}/",
            f"http://2130706433:{self.port}/",
            f"http://[::ffff:127.0.0.1]:{self.port}/",
            f"http://{HOSTILE}:{self.port}@{HOUSE}:{self.port}/",
            "http://169.254.169.254/latest/meta-data/",
            "http://10.0.0.1/",
            "http://[fd00:ec2::254]/",
            "file:///etc/passwd",
        ]
        return house + [f"http://{HOSTILE}:{self.port}/to/{quote(url, '')}" for url in house]

    def turning(self, number: int) -> str:
        """The URL of a host whose name means another one at every look."""
        return f"http://n{number}.{TURNING}:{self.port}/again"

    def dripping(self, number: int) -> list[str]:
        """URLs of pictures that come byte by byte."""
        return [
            f"http://{HOSTILE}:{self.port}/drip/{number}/{each}" for each in range(_URLS_A_REQUEST)
        ]

    def _handler(self, address: str) -> type[http.server.BaseHTTPRequestHandler]:
        hostile = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if address == HOUSE:
                    hostile.reached_inside += 1
                with contextlib.suppress(OSError):  # the frontend has left
                    hostile.answer(self, drips=address == HOSTILE)

            def log_message(self, *_: object, **__: object) -> None:
                """Says nothing."""

        return Handler

    def answer(self, asked: http.server.BaseHTTPRequestHandler, *, drips: bool) -> None:
        """Answers what somebody asked for, as its path says."""
        if asked.path.startswith("/to/") or asked.path == "/again":
            target = asked.path if asked.path == "/again" else unquote(asked.path[4:])
            asked.send_response(HTTPStatus.FOUND)
            asked.send_header("location", target)
            asked.send_header("content-length", "0")
            asked.end_headers()
            return
        asked.send_response(HTTPStatus.OK)
        asked.send_header("content-length", str(len(self._good)))
        asked.end_headers()
        for at in range(len(self._good)) if drips else ():
            asked.wfile.write(self._good[at : at + 1])
            time.sleep(DRIP_S)
        asked.wfile.write(b"" if drips else self._good)
