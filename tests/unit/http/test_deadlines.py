"""What takes longer than it may is ended, by one timer or by its own."""

import asyncio

from frontend.http.deadlines import Deadlines


class Work:
    """Notes that its time was over, behind those whose time was over before."""

    def __init__(self, over: "list[Work]") -> None:
        self.over = over
        self.expired = asyncio.Event()

    def expire(self) -> None:
        self.over.append(self)
        self.expired.set()


async def test_each_ends_when_its_time_is_over_unless_it_has_ended() -> None:
    deadlines, over = Deadlines(0.05), list[Work]()
    usual, done, sooner, done_sooner = (Work(over) for _ in range(4))
    for work, seconds in ((done, 0.05), (usual, 0.05), (sooner, 0.01), (done_sooner, 0.01)):
        deadlines.begin(work, seconds)
    deadlines.end(done)
    deadlines.end(done_sooner)
    await usual.expired.wait()
    assert over == [sooner, usual]


async def test_what_begins_later_ends_later() -> None:
    deadlines, over = Deadlines(0.03), list[Work]()
    first, second = Work(over), Work(over)
    deadlines.begin(first, 0.03)
    await asyncio.sleep(0.01)
    deadlines.begin(second, 0.03)
    await second.expired.wait()
    assert over == [first, second]


async def test_a_time_begins_again_behind_the_last_one() -> None:
    deadlines = Deadlines(0.01)
    for _ in range(2):
        work = Work([])
        deadlines.begin(work, 0.01)
        await work.expired.wait()
