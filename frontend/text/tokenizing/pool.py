"""Runs long texts' encoding in a bounded pool of threads, so that it never stops the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from protocol.errors import Overloaded

ResultT = TypeVar("ResultT")

QUEUED_MAX: Final = 8_192
"""Bounds the texts in the pool, running ones included.

At 30 ms each (8k tokens through the slower library) and two threads the last waits two minutes,
within what a request has. Their bytes are counted elsewhere (frontend/http/body_budget.py).
"""


class EncodePool:
    """An EncodePool runs blocking calls in at most `threads_max` threads, with at most QUEUED_MAX
    of them unfinished.
    """

    def __init__(self, threads_max: int) -> None:
        self._executor = ThreadPoolExecutor(threads_max, thread_name_prefix="encode")
        self._unfinished = 0

    async def run(self, encode: Callable[[], ResultT]) -> ResultT:
        """Returns the result of `encode`, called in a thread.

        Raises:
            Overloaded: QUEUED_MAX calls are unfinished.
        """
        if self._unfinished >= QUEUED_MAX:
            raise Overloaded("too many long prompts are waiting to be tokenized")
        loop = asyncio.get_running_loop()
        self._unfinished += 1
        call = self._executor.submit(encode)
        # Counted until the thread is through with it, which may be long after the awaiting request
        # was cancelled.
        call.add_done_callback(lambda _: _in_loop(loop, self._finished))
        return await asyncio.wrap_future(call, loop=loop)

    def _finished(self) -> None:
        self._unfinished -= 1


def _in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
