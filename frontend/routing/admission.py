"""Keeps requests that no worker has room for, by priority and then in order, as many as memory
allows.
"""

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, merge
from typing import Any, Final, Generic, TypeVar

from frontend.routing.departures import Departures
from frontend.routing.patience import Patience
from frontend.routing.waiting_memory import WaitingMemory
from protocol.errors import Overloaded

T = TypeVar("T")

PLACED_PER_TURN: Final = 64
"""Bounds the requests placed in one turn of the loop.

A worker that joins while thousands wait would otherwise stop everything else for as long as it
takes to send them all, some 40 µs each.
"""


@dataclass(frozen=True, slots=True)
class Shedding:
    """A Shedding refuses early what would have to wait (--shed-load).

    Attributes:
        patience: how many may wait at present.
        wait_s_max: a request that found no room for this long is refused.
    """

    patience: Patience
    wait_s_max: float


class _Turn(Generic[T]):
    """A _Turn is one waiter's place: who is being served already, then higher priorities, then who
    came first.
    """

    __slots__ = ("attempt", "lane", "placed", "rank", "size_bytes")

    placed: "asyncio.Future[T]"
    """Is there from the moment that it waits: most have found room before."""

    def __init__(
        self,
        attempt: Callable[[], T | None],
        rank: tuple[bool, int, int],
        lane: Hashable,
        size_bytes: int,
    ) -> None:
        self.attempt = attempt
        self.rank = rank
        self.lane = lane
        self.size_bytes = size_bytes

    def __lt__(self, other: "_Turn[T]") -> bool:
        return self.rank < other.rank


class AdmissionQueue:
    """An AdmissionQueue holds the requests for one model that wait: room for one model is of no use
    to a request for another.

    Whoever waits is in a lane: None for those that any rank will do for, and one for each set of
    ranks that others insist on. Of each lane only the first one tries, whenever there may be room,
    in the order of their turns; nobody passes a first one of the lane None, and those who insist
    are passed by everybody who fits elsewhere. So a try costs as much as there are lanes, however
    many wait.

    Args:
        memory: what all waiting requests of a frontend may take together.
        shedding: refuses earlier than that; None: whoever can wait may wait until its deadline.
    """

    def __init__(self, memory: WaitingMemory, shedding: Shedding | None = None) -> None:
        self._memory = memory
        self._shedding = shedding
        self._departures = Departures()
        self._lanes: dict[Hashable, list[_Turn[Any]]] = {}
        """Maps a lane to its turns in order, none of them empty, bounded by `memory`."""
        self._arrivals = 0
        self._waiting = 0
        self._pumping: asyncio.Handle | None = None

    def __len__(self) -> int:
        return self._waiting

    @property
    def stands_open(self) -> bool:
        """Tells whether nobody waits here, so that whoever comes may try without a turn."""
        return not self._lanes and self._pumping is None

    @property
    def sheds(self) -> bool:
        """Tells whether load is shed: then what cannot run at once is to wait here, where it is
        counted.
        """
        return self._shedding is not None

    def turn_away(self, priority: int = 0) -> None:
        """Refuses, as a request comes, what `admit` would refuse, before anything is done for it.

        Raises:
            Overloaded: others wait already, and there is no place beside them.
        """
        if self._shedding is not None:
            self._shedding.patience.note_arrival(self._now())
        if self._waiting:
            self._whom_to_displace(0, priority)

    def note_sent(self) -> None:
        """Notes that a request was sent to a worker."""
        if self._shedding is not None:
            self._shedding.patience.note_sent()

    def note_end(self, seconds: float, now: float) -> None:
        """Notes that a request ended now, this long after it was sent, for whatever reason."""
        self._departures.note(now)
        if self._shedding is not None:
            self._shedding.patience.note_end(seconds)

    async def admit(
        self,
        attempt: Callable[[], T | None],
        *,
        undo: Callable[[T], None],
        priority: int = 0,
        lane: Hashable = None,
        admitted: bool = False,
        size_bytes: int = 0,
    ) -> T:
        """Returns what `attempt` gives, trying at once if nobody comes before it and otherwise
        whenever it is its turn.

        Args:
            undo: gives back what `attempt` gave when nobody waits for it any more.
            admitted: it is being served already and comes before all who are not; it is refused by
            nothing but its deadline.
            size_bytes: what it takes while it waits.
        Raises:
            Overloaded: the queue is full, one of a higher priority needed the place, or load is
            shed and there was no room in time.
            Whatever `attempt` raises: then there is nothing to wait for.
        """
        self._arrivals += 1
        # What runs bounds those that were admitted.
        turn = _Turn(
            attempt, (not admitted, -priority, self._arrivals), lane, 0 if admitted else size_bytes
        )
        called = self._pumping is not None  # there may be room, which is for those who wait
        if not (called or self._comes_behind(turn, lane) or self._comes_behind(turn, None)):
            result = attempt()
            if result is not None:
                return result
        if not admitted:
            for last in self._whom_to_displace(size_bytes, priority):
                last.placed.set_exception(
                    self._overloaded("One of a higher priority took the place of this request.")
                )
                self._leave(last)
        self._enter(turn)
        try:
            async with asyncio.timeout(
                None if self._shedding is None else self._shedding.wait_s_max
            ):
                return await turn.placed
        except BaseException as error:
            if (
                turn.placed.done()
                and not turn.placed.cancelled()
                and turn.placed.exception() is None
            ):
                undo(turn.placed.result())  # it was placed and left in the same turn of the loop
            if isinstance(error, TimeoutError):
                raise self._overloaded("All workers stayed busy.") from None
            raise
        finally:
            self._leave(turn)
            self.room()

    def room(self) -> None:
        """Lets those whose turn it is try, before long, since there may be room, or no hope of
        any.
        """
        if self._lanes and self._pumping is None:
            self._pumping = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        heads = [(lane[0].rank, name) for name, lane in self._lanes.items()]
        heapify(heads)
        placed = 0
        while heads:
            if placed >= PLACED_PER_TURN:
                self.room()
                return
            _, name = heappop(heads)
            turn = self._lanes[name][0]
            if not turn.placed.done() and not self._try(turn):
                if name is None:
                    return
                continue
            placed += 1
            self._leave(turn)
            if name in self._lanes:
                heappush(heads, (self._lanes[name][0].rank, name))

    def _try(self, turn: _Turn[Any]) -> bool:
        """Returns whether a turn's wait is over."""
        try:
            result = turn.attempt()
        except Exception as error:  # noqa: BLE001 - it is told to whoever waits
            # which leads to this frame, and so to the turn: garbage for a cycle
            turn.placed.set_exception(error.with_traceback(None))
            return True
        if result is not None:
            turn.placed.set_result(result)
        return result is not None

    def _comes_behind(self, turn: _Turn[T], lane: Hashable) -> bool:
        turns = self._lanes.get(lane)
        return turns is not None and turns[0].rank < turn.rank

    def _enter(self, turn: _Turn[Any]) -> None:
        turn.placed = asyncio.get_running_loop().create_future()
        insort(self._lanes.setdefault(turn.lane, []), turn)
        self._waiting += 1
        self._memory.take(turn.size_bytes)

    def _leave(self, turn: _Turn[Any]) -> None:
        turns = self._lanes.get(turn.lane, [])
        at = bisect_left(turns, turn)
        if at == len(turns) or turns[at] is not turn:
            return  # placed, and gone since
        del turns[at]
        self._waiting -= 1
        self._memory.give(turn.size_bytes)
        if not turns:
            del self._lanes[turn.lane]

    def _whom_to_displace(self, size_bytes: int, priority: int) -> list[_Turn[Any]]:
        """Returns who must give their places to a newcomer: nobody while there is room, then the
        last of those with the lowest priorities.

        Raises:
            Overloaded: there would be no room without all whose priority is lower either.
        """
        displaced: list[_Turn[Any]] = []
        full = self._full(size_bytes)
        if full:
            freed_bytes = 0
            for turn in merge(*(reversed(turns) for turns in self._lanes.values()), reverse=True):
                if not full or turn.rank[:2] <= (True, -priority):
                    break
                if not turn.placed.done():  # whose client left a moment ago, leaves by itself
                    displaced.append(turn)
                    freed_bytes += turn.size_bytes
                    full = self._full(size_bytes, freed_bytes, takes_a_place=False)
        if full:
            raise self._overloaded(full)
        return displaced

    def _full(self, size_bytes: int, freed_bytes: int = 0, *, takes_a_place: bool = True) -> str:
        """Returns why a newcomer cannot wait; empty if it can.

        Args:
            freed_bytes: memory that others give back for it.
            takes_a_place: it is one more, and not in the place of another.
        """
        if not self._memory.has_room(size_bytes, freed_bytes):
            return "The memory for waiting requests is full."
        if (
            takes_a_place
            and self._shedding is not None
            and self._waiting >= self._shedding.patience.waiting_max(self._now())
        ):
            return "All workers are busy and the queue is full."
        return ""

    def _overloaded(self, what: str) -> Overloaded:
        return Overloaded(
            f"{what} Please retry later.",
            retry_after_s=self._departures.seconds_for(self._waiting + 1, self._now()),
        )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
