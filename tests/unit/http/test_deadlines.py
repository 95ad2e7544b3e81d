"""What takes longer than it may is ended, by one timer or by its own."""

import asyncio

from frontend.http.deadlines import Deadlines


class Work:
    """Notes that its time was over."""

    def __init__(self) -> None:
        self.expired = asyncio.Event()

    def expire(self) -> None:
        self.expired.set()


async def test_each_ends_when_its_time_is_over_unless_it_has_ended() -> None:
    deadlines = Deadlines(0.05)
    usual, done, sooner, done_sooner = (Work() for _ in range(4))
    deadlines.begin(done, 0.05)
    deadlines.begin(usual, 0.05)
    deadlines.begin(sooner, 0.01)
    deadlines.begin(done_sooner, 0.01)
    deadlines.end(done)
    deadlines.end(done_sooner)
    await sooner.expired.wait()
    assert not usual.expired.is_set()
    deadlines.end(sooner)
    await usual.expired.wait()
    deadlines.end(usual)
    assert not (done.expired.is_set())
    assert not (done_sooner.expired.is_set())


async def test_what_begins_later_ends_later() -> None:
    deadlines = Deadlines(0.03)
    first, second = Work(), Work()
    deadlines.begin(first, 0.03)
    await asyncio.sleep(0.01)
    deadlines.begin(second, 0.03)
    await first.expired.wait()
    assert not second.expired.is_set()
    await second.expired.wait()


async def test_a_time_begins_again_behind_the_last_one() -> None:
    deadlines = Deadlines(0.01)
    for _ in range(2):
        work = Work()
        deadlines.begin(work, 0.01)
        await work.expired.wait()
