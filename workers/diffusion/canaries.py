"""Whoever asks a generator for a sign of life waits behind no real work, of which a step is one."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from protocol.errors import EngineFault, MeshError
from protocol.generation import Finished
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.replies import Failed

LIVES = Finished("abort", 0, 0)
"""Answers a canary that was not run, as busy engines do."""


class Canaries:
    """Canaries are the ids of those without an answer; whoever sends them has one at a time.

    Args:
        ready: returns when the generator can take an order.
        tell: delivers the end of a canary; called in a turn of the loop of its own.
    """

    def __init__(
        self,
        ready: Callable[[], Awaitable[None]],
        tell: Callable[[str, Finished | Failed], None],
    ) -> None:
        self._ready = ready
        self._tell = tell
        self._waiting: list[str] = []
        self._asking: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._asking)

    def answer(self, canary: str) -> None:
        """Answers one, in a later turn."""
        asyncio.get_running_loop().call_soon(self._tell, canary, LIVES)

    def hold(self, canary: str) -> None:
        """Lets one wait until something is heard of the generator."""
        self._waiting.append(canary)

    def ask(self, canary: str) -> None:
        """Asks the generator itself, which has nothing to do."""
        task = asyncio.get_running_loop().create_task(self._ask())
        self._asking[canary] = task
        task.add_done_callback(partial(self._take, canary))

    def heard(self) -> None:
        """Answers all: something was heard of the generator."""
        for canary in (*self._waiting, *self._asking):
            self.abort(canary)

    def ask_again(self) -> None:
        """Asks the generator for those that wait for what was given up: it says nothing of that any
        more.
        """
        waiting, self._waiting = self._waiting, []
        for canary in waiting:
            self.ask(canary)

    def abort(self, canary: str) -> None:
        """Ends one, if it has no answer yet."""
        task = self._asking.pop(canary, None)
        if task is not None:
            task.cancel()
        elif canary in self._waiting:
            self._waiting.remove(canary)
        else:
            return
        self.answer(canary)

    def close(self) -> None:
        """Gives up all of them."""
        asking, self._asking = self._asking, {}
        for task in asking.values():
            task.cancel()
        self._waiting.clear()

    async def _ask(self) -> None:
        await self._ready()

    def _take(self, canary: str, task: "asyncio.Task[None]") -> None:
        if self._asking.pop(canary, None) is None or task.cancelled():
            return
        error = task.exception()
        self._tell(canary, Finished("stop", 0, 0) if error is None else _failed(error))


def _failed(error: BaseException) -> Failed:
    if isinstance(error, MeshError):
        return Failed(error.code, error.message[:MESSAGE_CHARS_MAX])
    return Failed(EngineFault.code, f"The generator failed: {error}"[:MESSAGE_CHARS_MAX])
