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

REST_S: Final = 2.0
"""Is after how many seconds without work the threads end, with what a library keeps for each of
them: 4 to 124 MiB. A new one costs the next long text 1 to 5 ms.
"""


class EncodePool:
    """An EncodePool runs blocking calls in at most `threads_max` threads, with at most QUEUED_MAX
    of them unfinished; it has none when there has been no call for a while.
    """

    def __init__(self, threads_max: int) -> None:
        self._threads_max = threads_max
        self._executor: ThreadPoolExecutor | None = None
        self._unfinished = 0
        self._rest: asyncio.TimerHandle | None = None

    async def run(self, encode: Callable[[], ResultT]) -> ResultT:
        """Returns the result of `encode`, called in a thread.

        Raises:
            Overloaded: QUEUED_MAX calls are unfinished.
        """
        if self._unfinished >= QUEUED_MAX:
            raise Overloaded("too many long prompts are waiting to be tokenized")
        loop = asyncio.get_running_loop()
        self._unfinished += 1
        self._cancel_rest()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self._threads_max, thread_name_prefix="encode")
        call = self._executor.submit(encode)
        # Counted until the thread is through with it, which may be long after the awaiting request
        # was cancelled.
        call.add_done_callback(lambda _: _in_loop(loop, self._finished))
        return await asyncio.wrap_future(call, loop=loop)

    def _finished(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._cancel_rest()
            self._rest = asyncio.get_running_loop().call_later(REST_S, self._end_threads)

    def _cancel_rest(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    def _end_threads(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)


def _in_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
