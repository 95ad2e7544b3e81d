"""Whether a lost worker had begun a request whose pictures another one encodes is told by that one.

The worker that encodes tells us first when pictures are encoded, and then who fetches them. But its
word takes another way than that of a worker's death, and may be later. It ends the request's leg,
as everybody does, also where we stopped it: with what was encoded, or with nothing.
"""

import asyncio
from functools import partial
from typing import Final

from frontend.fleet.worker import Worker
from protocol.encoding import Encoded
from protocol.replies import Delta

DOUBT_S_MAX: Final = 1.0
"""Bounds how long a word is waited for that is on its way, or comes at once. Who says nothing then
has said nothing to those who fetch either, as far as can be told.
"""


class Doubts:
    """Doubts are the requests that a worker was lost with while their pictures were being encoded,
    as far as we have heard.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], asyncio.Future[bool]] = {}
        """Maps the worker that encodes and the request, by their ids, to what is waited for.
        Bounded by the requests that are lost in DOUBT_S_MAX, no more than the credit of workers.
        """

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, encoder: Worker, request_id: str) -> asyncio.Future[bool]:
        """Returns what becomes true if the pictures of a request had not been encoded when its leg
        was stopped, and false if they had.
        """
        loop = asyncio.get_running_loop()
        key = encoder.worker_id, request_id
        doubt = self._open[key] = loop.create_future()
        timer = loop.call_later(DOUBT_S_MAX, partial(self._settle, key, innocent=True))
        # also when whoever asks no longer waits, which cancels it
        doubt.add_done_callback(partial(self._close, key, timer))
        return doubt

    def hear(self, worker: Worker, delta: Delta) -> None:
        """Takes what a worker says of a leg that is over for us."""
        if delta.end is not None:
            key = worker.worker_id, delta.request_id
            self._settle(key, innocent=not isinstance(delta.end, Encoded))

    def _settle(self, key: tuple[str, str], *, innocent: bool) -> None:
        doubt = self._open.pop(key, None)
        if doubt is not None and not doubt.done():  # its client may have left
            doubt.set_result(innocent)

    def _close(
        self, key: tuple[str, str], timer: asyncio.TimerHandle, _: asyncio.Future[bool]
    ) -> None:
        timer.cancel()
        self._open.pop(key, None)
