"""The admission queue with priorities and with requests that only some ranks will do for, against a
naive model.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.routing.admission import AdmissionQueue
from frontend.routing.waiting_memory import WaitingMemory
from protocol.errors import Overloaded

RANKS = 3


def queue(waiting_max: int = 1_000) -> AdmissionQueue:
    """So many may wait, where each takes a byte."""
    return AdmissionQueue(WaitingMemory(waiting_max))


@dataclass
class Fleet:
    """Ranks with so many free places; `taken` says who got which, in order."""

    places: list[int] = field(default_factory=lambda: [0] * RANKS)
    taken: list[tuple[str, int]] = field(default_factory=list)

    def fitting(self, only: Sequence[int] | None) -> int | None:
        """The first rank with room that will do."""
        return next(
            (rank for rank in (range(RANKS) if only is None else only) if self.places[rank]), None
        )

    def attempt(self, name: str, only: Sequence[int] | None) -> Callable[[], str | None]:
        def take() -> str | None:
            rank = self.fitting(only)
            if rank is None:
                return None
            self.places[rank] -= 1
            self.taken.append((name, rank))
            return name

        return take

    def undo(self, name: str) -> None:
        """Nobody waited any more for what this one got."""
        taken = next(pair for pair in self.taken if pair[0] == name)
        self.taken.remove(taken)
        self.places[taken[1]] += 1

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.taken]


class Line:
    """Requests of one queue as tasks."""

    def __init__(self, **bounds: int) -> None:
        self.fleet = Fleet()
        self.queue = queue(**bounds)
        self.tasks: dict[str, asyncio.Task[str]] = {}

    def arrive(
        self, name: str, priority: int = 0, only: Sequence[int] | None = None, size_bytes: int = 1
    ) -> None:
        admission = self.queue.admit(
            self.fleet.attempt(name, only),
            undo=self.fleet.undo,
            priority=priority,
            lane=None if only is None else tuple(only),
            size_bytes=size_bytes,
        )
        self.tasks[name] = asyncio.create_task(admission)

    def free(self, rank: int = 0, places: int = 1) -> None:
        self.fleet.places[rank] += places
        self.queue.room()

    async def settle(self) -> None:
        """Until nobody has anything to do: a turn for each that may be called, and one for each
        that passes it on.
        """
        for _ in range(4 * len(self.tasks) + 4):
            await asyncio.sleep(0)

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert len(self.queue) == 0


async def test_higher_priorities_go_first_and_equal_ones_in_order() -> None:
    line = Line()
    for name, priority in [
        ("low", -1),
        ("a", 0),
        ("urgent", 5),
        ("b", 0),
        ("c", 0),
        ("urgent too", 5),
    ]:
        line.arrive(name, priority)
    await line.settle()
    line.free(places=6)
    await line.settle()
    assert line.fleet.names == ["urgent", "urgent too", "a", "b", "c", "low"]
    await line.close()


async def test_one_place_at_a_time_goes_to_the_highest_priority_of_that_moment() -> None:
    line = Line()
    line.arrive("a")
    await line.settle()
    line.arrive("b", 1)
    await line.settle()
    line.free()
    await line.settle()
    line.arrive("c", 1)
    await line.settle()
    line.free()
    await line.settle()
    assert line.fleet.names == ["b", "c"]
    await line.close()


async def test_a_newcomer_of_higher_priority_tries_at_once_and_one_of_lower_priority_waits() -> (
    None
):
    line = Line()
    line.arrive("a")
    await line.settle()
    line.fleet.places[0] = 1  # nobody was told yet
    line.arrive("lower", -1)
    line.arrive("equal", 0)
    await line.settle()
    assert line.fleet.names == []
    line.arrive("higher", 1)
    await line.settle()
    assert line.fleet.names == ["higher"]
    await line.close()


async def test_a_choosy_request_does_not_block_those_behind_it() -> None:
    line = Line()
    line.arrive("only 2", 9, only=[2])
    line.arrive("any")
    await line.settle()
    line.free(rank=0)
    await line.settle()
    assert line.fleet.taken == [("any", 0)]
    line.fleet.places[1] = 1
    line.arrive("newcomer")  # nobody but a choosy one waits
    await line.settle()
    assert line.fleet.taken == [("any", 0), ("newcomer", 1)]
    await line.close()


async def test_a_choosy_request_gets_its_rank_before_those_behind_it() -> None:
    line = Line()
    line.arrive("only 2", only=[2])
    line.arrive("any")
    line.arrive("only 2 too", only=[2])
    line.arrive("any too")
    await line.settle()
    for _ in range(4):
        line.free(rank=2)
        await line.settle()
    assert line.fleet.names == ["only 2", "any", "only 2 too", "any too"]
    await line.close()


async def test_a_choosy_request_of_low_priority_does_not_starve_when_the_others_have_room() -> None:
    line = Line()
    line.arrive("only 1", -5, only=[1])
    for number in range(20):
        line.arrive(f"any {number}", 5)
    await line.settle()
    line.free(rank=0, places=20)
    await line.settle()
    assert len(line.fleet.taken) == 20
    line.free(rank=1)
    await line.settle()
    assert line.fleet.taken[-1] == ("only 1", 1)
    await line.close()


async def test_several_choosy_requests_do_not_hide_each_other() -> None:
    line = Line()
    for rank in (0, 1, 2, 1):
        line.arrive(f"{len(line.tasks)} only {rank}", only=[rank])
    await line.settle()
    line.free(rank=2)
    line.free(rank=1, places=2)
    await line.settle()
    assert sorted(line.fleet.names) == ["1 only 1", "2 only 2", "3 only 1"]
    await line.close()


async def test_when_the_head_leaves_its_turn_goes_to_the_next_priority() -> None:
    line = Line()
    line.arrive("urgent", 5)
    line.arrive("a")
    await line.settle()
    line.free()
    line.tasks["urgent"].cancel()  # in the same turn of the loop
    await line.settle()
    assert line.fleet.names == ["a"]
    await line.close()


async def test_in_a_full_queue_a_newcomer_takes_the_place_of_the_last_of_the_lowest() -> None:
    line = Line(waiting_max=3)
    for name, priority, only in (("a", 0, None), ("low", -1, (1,)), ("lower", -1, None)):
        line.arrive(name, priority, only)
    await line.settle()
    for name, displaced in (("b", "lower"), ("c", "low")):
        line.queue.turn_away(0)
        line.arrive(name)
        await line.settle()
        assert isinstance(line.tasks[displaced].exception(), Overloaded)
    with pytest.raises(Overloaded, match="full"):
        line.queue.turn_away(0)  # those who wait are as high
    line.arrive("d")
    line.arrive("urgent", 9)
    await line.settle()
    assert isinstance(line.tasks["d"].exception(), Overloaded)
    assert isinstance(line.tasks["c"].exception(), Overloaded)
    assert len(line.queue) == 3
    line.free(places=3)
    await line.settle()
    assert line.fleet.names == ["urgent", "a", "b"]
    await line.close()


async def test_nobody_is_displaced_in_vain() -> None:
    line = Line(waiting_max=10)
    for name in ("a", "b"):
        line.arrive(name, size_bytes=5)
    line.arrive("c", size_bytes=5)
    await line.settle()
    assert isinstance(line.tasks["c"].exception(), Overloaded)
    line.arrive("large", 1, size_bytes=11)
    await line.settle()
    assert isinstance(line.tasks["large"].exception(), Overloaded)
    assert len(line.queue) == 2
    line.arrive("as large as both", 1, size_bytes=10)
    await line.settle()
    assert len(line.queue) == 1
    line.free()
    await line.settle()
    assert line.fleet.names == ["as large as both"]
    line.arrive("d", size_bytes=10)  # all that was taken has been given back
    await line.settle()
    assert len(line.queue) == 1
    await line.close()


async def test_what_an_attempt_raises_at_a_turn_ends_that_request_alone() -> None:
    line = Line()
    broken = False

    def attempt() -> str | None:
        if broken:
            raise ValueError("no hope")
        return None

    task = asyncio.create_task(line.queue.admit(attempt, undo=line.fleet.undo, priority=1))
    line.arrive("a")
    await line.settle()
    broken = True
    line.free()
    await line.settle()
    assert isinstance(task.exception(), ValueError)
    assert line.fleet.names == ["a"]
    await line.close()


async def test_a_place_called_for_by_a_choosy_request_is_not_taken_by_a_newcomer() -> None:
    line = Line()
    line.arrive("only 2", 9, only=[2])
    await line.settle()
    # its task runs in the next turn, and so before the one that is woken in it
    line.arrive("newcomer")
    line.free(rank=2)
    await line.settle()
    taken = line.fleet.names
    await line.close()
    assert taken == ["only 2"]


# Against a naive model

ONLY = st.one_of(
    st.none(), st.none(), st.sets(st.integers(0, RANKS - 1), min_size=1, max_size=2).map(sorted)
)
ARRIVAL = st.tuples(st.just("arrive"), st.integers(-1, 1), ONLY)
FREED = st.tuples(st.just("free"), st.integers(0, RANKS - 1), st.none())
LEAVING = st.tuples(st.just("leave"), st.integers(0, 30), st.none())
OPERATIONS = st.lists(st.one_of(ARRIVAL, ARRIVAL, FREED, LEAVING), max_size=40)

Operation = tuple[str, int, Sequence[int] | None]


class Naive:
    """All who wait, looked through from the front whenever anything happens."""

    def __init__(self) -> None:
        self.fleet = Fleet()
        self.waiting: list[tuple[int, int, str, Sequence[int] | None]] = []
        self.arrivals = 0

    def apply(self, operation: Operation) -> str | None:
        """Returns who leaves, if anybody does."""
        kind, number, only = operation
        gone = None
        if kind == "arrive":
            self.arrivals += 1
            self.waiting.append((-number, self.arrivals, f"r{self.arrivals}", only))
            self.waiting.sort(key=lambda waiter: waiter[:2])
        elif kind == "free":
            self.fleet.places[number] += 1
        elif self.waiting:
            gone = self.waiting.pop(number % len(self.waiting))[2]
        self.waiting = [
            waiter for waiter in self.waiting if self.fleet.attempt(waiter[2], waiter[3])() is None
        ]
        return gone


def take_part(line: Line, operation: Operation, gone: str | None) -> None:
    kind, number, only = operation
    if kind == "arrive":
        line.arrive(f"r{len(line.tasks) + 1}", number, only)
    elif kind == "free":
        line.free(number)
    elif gone is not None:
        line.tasks[gone].cancel()


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_whoever_comes_first_of_those_that_fit_gets_each_place(operations: list[Operation]) -> None:
    async def run() -> None:
        line, naive = Line(), Naive()
        for operation in operations:
            take_part(line, operation, naive.apply(operation))
            await line.settle()
            assert line.fleet.taken == naive.fleet.taken
            assert len(line.queue) == len(naive.waiting)
        await line.close()

    asyncio.run(run())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.one_of(ARRIVAL, FREED, LEAVING), max_size=8), max_size=8))
def test_in_bursts_too_no_waiter_is_lost_and_no_room_unused_while_somebody_could_use_it(
    bursts: list[list[Operation]],
) -> None:
    async def run() -> None:
        line = Line()
        wishes: dict[str, Sequence[int] | None] = {}
        cancelled: set[str] = set()
        for burst in bursts:
            for operation in burst:  # all in one turn of the loop
                running = [name for name, task in line.tasks.items() if not task.done()]
                gone = running[operation[1] % len(running)] if running else None
                if operation[0] == "arrive":
                    wishes[f"r{len(line.tasks) + 1}"] = operation[2]
                elif operation[0] == "leave" and gone is not None:
                    cancelled.add(gone)
                take_part(line, operation, gone)
            await line.settle()
            waiting = [name for name, task in line.tasks.items() if not task.done()]
            assert len(line.queue) == len(waiting)
            assert [name for name in waiting if line.fleet.fitting(wishes[name]) is not None] == []
            assert len(line.fleet.names) == len(set(line.fleet.names))
            assert set(line.tasks) == set(waiting) | set(line.fleet.names) | cancelled
        await line.close()

    asyncio.run(run())
