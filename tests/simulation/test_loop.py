"""Virtual time, and processes that are stopped and killed on it."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulation.loop import BEGIN_S, Process, Stalled, VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(end_s=10_000.0)
    yield loop
    loop.close()


async def _tick(loop: VirtualLoop, ticks: list[float]) -> None:
    while True:
        await asyncio.sleep(1.0)
        ticks.append(loop.time() - BEGIN_S)


def test_nobody_waits_and_timers_come_in_order(loop: VirtualLoop) -> None:
    ticks: list[float] = []

    async def main() -> None:
        ticking = asyncio.ensure_future(_tick(loop, ticks))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.5):
                await ticking
        assert await asyncio.to_thread(sum, [1, 2]) == 3

    loop.run_until_complete(main())
    assert ticks == [1.0, 2.0, 3.0]
    assert loop.time() == BEGIN_S + 3.5


def test_what_will_never_end_is_said(loop: VirtualLoop) -> None:
    async def wait_for_nothing() -> None:
        await loop.create_future()

    with pytest.raises(Stalled, match="nothing is left"):
        loop.run_until_complete(wait_for_nothing())


def test_a_stopped_process_is_late_and_a_dead_one_silent(loop: VirtualLoop) -> None:
    ticks: dict[str, list[float]] = {"stopped": [], "killed": [], "left alone": []}
    processes = {name: Process(name, loop) for name in ticks}
    closed: list[str] = []

    async def work(name: str) -> None:
        try:
            await _tick(loop, ticks[name])
        finally:
            closed.append(name)

    async def main() -> None:
        for name, process in processes.items():
            process.begin(work(name))
        await asyncio.sleep(1.5)
        processes["stopped"].stop()
        processes["killed"].kill()
        assert closed == ["killed"]
        await asyncio.sleep(2.0)
        processes["stopped"].wake()
        await asyncio.sleep(1.25)
        assert len(loop.left()) == 2
        for process in processes.values():
            process.kill()
        assert not loop.left()

    loop.run_until_complete(main())
    assert ticks == {
        "stopped": [1.0, 3.5, 4.5],
        "killed": [1.0],
        "left alone": [1.0, 2.0, 3.0, 4.0],
    }
    assert processes["stopped"].frozen_s == 2.0
