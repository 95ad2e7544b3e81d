"""What is wanted seldom is done at once, and what is wanted often together."""

import asyncio

from kv_events.cadence import Cadence

FAR_S = 1e6


async def test_after_a_pause_it_is_done_at_once_and_then_not_again() -> None:
    done: list[None] = []
    cadence = Cadence(lambda: done.append(None), FAR_S)
    cadence.soon()
    assert len(done) == 1
    for _ in range(3):
        cadence.soon()
    assert len(done) == 1
    cadence.close()


async def test_what_was_wanted_since_is_done_once_when_its_time_has_come() -> None:
    called: asyncio.Queue[None] = asyncio.Queue()
    cadence = Cadence(lambda: called.put_nowait(None), 0.01)
    for _ in range(3):
        cadence.soon()
    await called.get()
    await called.get()
    assert called.empty()
    assert cadence._timer is None  # nothing wants a third


async def test_nothing_is_done_behind_the_end() -> None:
    done: list[None] = []
    cadence = Cadence(lambda: done.append(None), FAR_S)
    cadence.soon()
    cadence.soon()
    timer = cadence._timer
    cadence.close()
    assert timer is not None
    assert timer.cancelled()
    assert len(done) == 1
