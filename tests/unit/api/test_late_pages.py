"""What answers pages is made when the first is asked for that is no probe."""

import subprocess
import sys
import threading
from typing import Any

import pytest
from starlette.responses import Response

from frontend.api.pages.late import LatePages
from frontend.http.asgi import Receive, Scope, Send
from protocol.errors import NoWorker


class Asked:
    """Asks pages, of which the probes are `/live`, `/refused` and `/broken`."""

    def __init__(self) -> None:
        self.built_by: list[int] = []
        self.pages = LatePages(
            {"/live": self.live, "/refused": self.refused, "/broken": self.broken}, self.build
        )

    async def live(self) -> dict[str, str]:
        return {"status": "live"}

    async def refused(self) -> Response:
        raise NoWorker("Nobody is there.")

    async def broken(self) -> Response:
        raise KeyError("secret")

    def build(self) -> Any:
        self.built_by.append(threading.get_ident())

        async def rest(scope: Scope, receive: Receive, send: Send) -> None:
            await Response(f"the rest: {scope['path']}")(scope, receive, send)

        return rest

    async def ask(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            raise AssertionError("nobody reads")

        scope = {"type": "http", "path": path, "method": method, "headers": []}
        try:
            await self.pages(scope, receive, send)
        finally:
            self.sent = sent
        return sent[0]["status"], sent[1]["body"]


async def test_probes_are_answered_without_the_rest() -> None:
    asked = Asked()
    assert await asked.ask("/live") == (200, b'{"status":"live"}')
    status, body = await asked.ask("/refused")
    assert status == 503
    assert b"Nobody is there." in body
    assert not asked.built_by


async def test_the_rest_is_made_once_and_in_a_thread() -> None:
    asked = Asked()
    assert await asked.ask("/v1/models") == (200, b"the rest: /v1/models")
    assert await asked.ask("/live", "POST") == (200, b"the rest: /live")
    assert len(asked.built_by) == 1
    assert asked.built_by != [threading.get_ident()]


async def test_a_probe_that_fails_tells_nothing_and_is_logged_by_the_server() -> None:
    asked = Asked()
    with pytest.raises(KeyError):
        await asked.ask("/broken")
    assert asked.sent[0]["status"] == 500
    assert b"secret" not in asked.sent[1]["body"]


def test_a_frontend_of_text_does_not_load_what_it_may_never_need() -> None:
    program = "import sys, frontend.app; print(*{each.partition('.')[0] for each in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"msgspec", "zmq"} <= set(loaded)
    assert not {"fastapi", "pydantic", "numpy", "fastokens", "PIL", "torch"}.intersection(loaded)
