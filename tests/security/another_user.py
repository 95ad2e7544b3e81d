"""Another user, whose chats must be answered in time whatever else is asked for, and what the frontend took of memory meanwhile."""

import http.client
import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.fleet.processes import Fleet, Process

ANSWER_S_MAX = 3.0
"""A chat of four tokens takes 20 ms; workers give up a frontend that is silent for 4 s."""

MEMORY_BYTES_MAX = 64 * 1024 * 1024
"""More than before, whatever is asked for."""


def post(fleet: Fleet, path: str, body: dict[str, Any], *, timeout_s: float = 60.0) -> tuple[int, bytes]:
    """Status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.http_port, timeout=timeout_s)
    try:
        connection.request("POST", path, json.dumps(body).encode(), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class AnotherUser:
    """Chats one after the other as long as the block runs, which fails if one was not answered in time or the frontend grew too much."""

    def __init__(self, fleet: Fleet, frontend: Process) -> None:
        self._fleet = fleet
        self._proc = Path(f"/proc/{frontend.popen.pid}")
        self._ended, self._served = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._chat)
        self._failed: list[str] = []
        self._before = 0

    def __enter__(self) -> "AnotherUser":
        (self._proc / "clear_refs").write_text("5")
        self._before = self._memory("VmRSS")
        self._thread.start()
        assert self._served.wait(2 * ANSWER_S_MAX)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._served.clear()
        assert kind or self._served.wait(2 * ANSWER_S_MAX)  # one that began at the end at the latest
        self._ended.set()
        self._thread.join()
        if kind is None:
            assert not self._failed
            assert self._memory("VmHWM") - self._before < MEMORY_BYTES_MAX

    def _memory(self, name: str) -> int:
        line = next(line for line in (self._proc / "status").read_text().splitlines() if line.startswith(name + ":"))
        return int(line.split()[1]) * 1024

    def _chat(self) -> None:
        body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        while not self._ended.is_set():
            begun = time.monotonic()
            status, answer = post(self._fleet, "/v1/chat/completions", body)
            took = time.monotonic() - begun
            if status != 200 or took > ANSWER_S_MAX:
                self._failed.append(f"{status} after {took:.1f} s: {answer[:200]!r}")
            self._served.set()
