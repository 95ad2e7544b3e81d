"""Another user, whose chats must be answered in time whatever else is asked for, and what the
frontend took of memory meanwhile.
"""

import http.client
import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from starter.process import Process
from tests.kit.fleet import Fleet

ANSWER_S_MAX = 10.0
"""A chat of four tokens takes 20 ms, but machines that run tests do much else; how long a loop
stood is measured besides.
"""

MEMORY_BYTES_MAX = 64 * 1024 * 1024
"""More than before, whatever is asked for."""

_CHAT = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}


def post(
    fleet: Fleet, path: str, body: dict[str, Any], *, timeout_s: float = 60.0
) -> tuple[int, bytes]:
    """Status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.http_port, timeout=timeout_s)
    try:
        connection.request(
            "POST", path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class AnotherUser:
    """Chats one after the other as long as the block runs, which fails if one was not answered in
    time.

    Args:
        frontend: the block fails too if this one grew too much.
    """

    def __init__(self, fleet: Fleet, frontend: Process | None = None) -> None:
        self._fleet = fleet
        self._proc = None if frontend is None else Path(f"/proc/{frontend.popen.pid}")
        self._ended, self._answered = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._chat)
        self._failed: list[str] = []
        self._before = 0
        self.served = 0

    def __enter__(self) -> Self:
        if self._proc is not None:
            (self._proc / "clear_refs").write_text("5")
            self._before = self._memory("VmRSS")
        self._thread.start()
        self.wait_for_another()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.wait_for_another()
        finally:
            self._ended.set()
            self._thread.join()
        if kind is None:
            assert not self._failed
            assert self._proc is None or self._memory("VmHWM") - self._before < MEMORY_BYTES_MAX

    def wait_for_another(self) -> None:
        """Until a chat that begins now was answered."""
        for _ in range(2):
            self._answered.clear()
            assert self._answered.wait(2 * ANSWER_S_MAX)

    def _memory(self, name: str) -> int:
        assert self._proc is not None
        line = next(
            line
            for line in (self._proc / "status").read_text().splitlines()
            if line.startswith(name + ":")
        )
        return int(line.split()[1]) * 1024

    def _chat(self) -> None:
        while not self._ended.is_set():
            begun = time.monotonic()
            try:
                status, answer = post(self._fleet, "/v1/chat/completions", _CHAT)
            except OSError as error:
                status, answer = 0, str(error).encode()
            took = time.monotonic() - begun
            if status != 200 or took > ANSWER_S_MAX:
                self._failed.append(f"{status} after {took:.1f} s: {answer[:200]!r}")
            self.served += 1
            self._answered.set()
