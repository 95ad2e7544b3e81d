"""When a parent starts a process again, and when it gives up; no process is started here."""

import errno
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from frontend.processes.parent import FAILURES_MAX, PAUSE_S, PAUSE_S_MAX, Parent
from frontend.settings import FrontendSettings


class Script:
    """A parent of two, of which the first ends again and again as is written, or cannot be started
    for want of room, and then all leave.

    Attributes:
        pauses: how long it waited before each start but the first.
    """

    def __init__(self, served: Iterable[bool | OSError], *, other_serves: bool) -> None:
        self.parent: Any = Parent(FrontendSettings(http_port=0, frontend_processes=2))
        self.pauses: list[float] = []
        self._served: Iterator[bool | OSError] = iter(served)
        self.parent._run_one = self._run_one
        self.parent._left_within = self._left_within
        self.parent._children[1] = SimpleNamespace(serves=other_serves, kill=lambda: None)

    async def ended(self) -> str:
        """Let it run; why it gave up, empty where it did not."""
        await self.parent._keep(0)
        self.parent._listener.close()
        return self.parent._failure

    async def _run_one(self, _: int) -> tuple[Any, int]:
        served = next(self._served, None)
        if served is None:
            self.parent._leaves = 1
        if isinstance(served, OSError):
            raise served
        return SimpleNamespace(served=bool(served), why="" if served else "no room"), 1

    async def _left_within(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return False


async def test_one_that_cannot_start_for_the_first_time_ends_all() -> None:
    script = Script([False], other_serves=True)
    assert await script.ended() == "no room"
    assert script.pauses == []


async def test_one_that_died_is_started_again_for_ever_while_another_serves() -> None:
    script = Script([True] + [False] * 9, other_serves=True)
    assert await script.ended() == ""
    assert script.pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert script.pauses[-1] == PAUSE_S_MAX
    assert len(script.pauses) == 10


async def test_one_for_which_the_host_has_no_room_is_started_later() -> None:
    no_room = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    script = Script([True, no_room, True, True], other_serves=True)
    assert await script.ended() == ""
    assert len(script.pauses) == 4
    script = Script([no_room], other_serves=True)
    assert await script.ended() == "process 1 cannot be started: Resource temporarily unavailable"


@pytest.mark.parametrize("served_before", [1, 3])
async def test_where_nobody_serves_any_more_it_ends_after_some_tries(served_before: int) -> None:
    script = Script([True] * served_before + [False] * 9, other_serves=False)
    assert await script.ended() == "no room"
    assert len(script.pauses) == served_before + FAILURES_MAX - 1


async def test_told_to_leave_before_one_that_died_is_started_again_it_ends_well() -> None:
    script = Script([True], other_serves=True)

    async def leaving(_: float) -> bool:
        return True

    script.parent._left_within = leaving
    assert await script.parent._keep(0) == 0
    script.parent._listener.close()
