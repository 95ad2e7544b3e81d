"""Another user, whose requests must be served in time whatever happens beside them."""

import json
import threading
import time
from types import TracebackType

from tests.security.probed_fleet import ProbedFleet

CHAT = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}).encode()
ANSWER_S_MAX = 3.0
"""A chat of four tokens takes some 20 ms; machines that run tests have other things to do."""


class Bystander:
    """Chats, one behind the other, until the block ends, which fails if one of them was not answered in time."""

    def __init__(self, fleet: ProbedFleet) -> None:
        self._fleet = fleet
        self._ended = threading.Event()
        self._served = threading.Event()
        self._thread = threading.Thread(target=self._chat)
        self._failed: list[str] = []
        self.served = 0

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if kind is None:
            assert not self._failed
            assert self.served

    def wait_for_another(self) -> None:
        """Until a chat that begins now was answered."""
        for _ in range(2):
            self._served.clear()
            assert self._served.wait(2 * ANSWER_S_MAX)

    def _chat(self) -> None:
        while not self._ended.is_set():
            start = time.monotonic()
            status, answer = self._fleet.post("/v1/chat/completions", CHAT)
            took = time.monotonic() - start
            if status != 200 or took > ANSWER_S_MAX:
                self._failed.append(f"{status} after {took:.1f} s: {answer[:200]!r}")
            self.served += 1
            self._served.set()
