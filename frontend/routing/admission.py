"""Requests that no worker has room for wait here, in order, within a bound."""

import asyncio
from collections import OrderedDict

from protocol.errors import Overloaded


class AdmissionQueue:
    """First come, first served, per model.

    Args:
        requests_waiting_max: further requests are refused at once; a queue longer than the fleet can work off within a
            client's patience only turns into timeouts.
        wait_s_max: a request that found no room for this long is refused.
    """

    def __init__(self, *, requests_waiting_max: int, wait_s_max: float) -> None:
        self._requests_waiting_max = requests_waiting_max
        self._wait_s_max = wait_s_max
        self._waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait_turn(self) -> None:
        """Return when there may be room for the request at the head.

        Raises:
            Overloaded: the queue is full, or there was no room in time.
        """
        if len(self._waiting) >= self._requests_waiting_max:
            raise Overloaded("All workers are busy and the queue is full. Please retry later.", retry_after_s=1)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        try:
            async with asyncio.timeout(self._wait_s_max):
                await turn
        except TimeoutError:
            raise Overloaded("All workers stayed busy. Please retry later.", retry_after_s=1) from None
        finally:
            self._waiting.pop(turn, None)

    def room(self) -> None:
        """A worker has room: the head of the queue may try."""
        while self._waiting:
            turn, _ = self._waiting.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return
