"""A loop that stands still is seen to."""

import asyncio
import time

from frontend.observe.loop_lag import EVERY_S, STALL_S, LoopLag


async def test_a_loop_that_is_blocked_is_late() -> None:
    lag = LoopLag()
    lag.start()
    time.sleep(EVERY_S + 4 * STALL_S)
    while not lag.late_s.count:
        await asyncio.sleep(STALL_S)
    lag.close()
    assert lag.stalls >= 1
    assert lag.late_s.total >= 3 * STALL_S
    looks = lag.late_s.count
    await asyncio.sleep(2 * EVERY_S)
    assert lag.late_s.count == looks


def test_only_what_is_later_than_the_clocks_tell_is_a_stall() -> None:
    lag = LoopLag()
    for late_s in (-0.0001, 0.0, STALL_S, 2 * STALL_S):
        lag.note(late_s)
    assert (lag.late_s.count, lag.stalls, lag.late_s.total) == (4, 1, 3 * STALL_S)
