"""Everything is restarted, one after the other, while clients ask: none of them gets an error or
another text.
"""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.faults.client import Answer, ask_any
from starter.process import Process
from tests.fault.streams import SIM, body, on_each_worker, start_workers
from tests.kit.fleet import Fleet

CLIENTS = 16
TOKENS = 100


class Clients:
    """Each asks one stream after the other, of whichever frontend takes it, as behind a load
    balancer.
    """

    def __init__(self, fleets: list[Fleet]) -> None:
        self._ports = [fleet.http_port for fleet in fleets]
        self.answers: list[tuple[int, Answer]] = []

    async def ask(self, number: int) -> Answer:
        request = body(
            number, max_tokens=TOKENS, stream=True, stream_options={"include_usage": True}
        )
        return await ask_any(self._ports, request, first=number)

    async def while_restarting(self, restart: Callable[[], None]) -> None:
        """Ask until the restart is over."""
        over = asyncio.Event()

        async def client(number: int) -> None:
            while not over.is_set():
                self.answers.append((number, await self.ask(number)))

        async with asyncio.TaskGroup() as tasks:
            for number in range(CLIENTS):
                tasks.create_task(client(number))
            await asyncio.to_thread(restart)
            over.set()

    async def check(self) -> None:
        """Each was answered as the same request is answered in peace."""
        texts = {number: (await self.ask(number)).texts for number in range(CLIENTS)}
        assert {answer.error for _, answer in self.answers} == {""}
        assert {answer.completion_tokens for _, answer in self.answers} == {TOKENS}
        assert all(answer.texts == texts[number] for number, answer in self.answers)
        assert {number for number, _ in self.answers} == set(range(CLIENTS))


async def test_every_worker_is_restarted(fleet: Fleet) -> None:
    fleet.frontend()
    workers = start_workers(fleet, 3)

    def restart() -> None:
        for name, worker in workers.items():
            assert worker.stop(signal.SIGTERM) == 0
            fleet.worker(*SIM, "--worker-id", name)
            fleet.wait_for_workers(3)

    clients = Clients([fleet])
    await clients.while_restarting(restart)
    await clients.check()


async def test_each_of_two_frontends_is_restarted(fleet: Fleet, tmp_path: Path) -> None:
    other = Fleet(tmp_path / "other")
    other.directory.mkdir()
    frontends = {id(each): (each, each.frontend()) for each in (fleet, other)}
    start_workers(fleet, 3, "--frontend", other.mesh)
    other.wait_for_workers(3)

    def restart() -> None:
        for each, process in frontends.values():
            assert process.stop(signal.SIGTERM) == 0
            each.frontend()
            each.wait_for_workers(3)

    clients = Clients([fleet, other])
    try:
        await clients.while_restarting(restart)
        await clients.check()
    finally:
        other.stop()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_worker_that_drains_past_its_deadline_hands_over_what_it_runs(
    fleet: Fleet, workers: int
) -> None:
    """To another one, or, where there is none, to one clear error."""
    fleet.frontend()
    started: dict[str, Process] = start_workers(
        fleet, workers, "--graceful-shutdown-timeout-secs", "1"
    )

    async def stream() -> Answer:
        return await ask_any(
            [fleet.http_port],
            body(1, max_tokens=600, stream=True, stream_options={"include_usage": True}),
        )

    undisturbed = await stream()
    telling = asyncio.create_task(stream())
    await asyncio.to_thread(
        fleet.wait_until, lambda: any(on_each_worker(fleet).values()), "it runs"
    )
    runs = on_each_worker(fleet)
    victim = started[max(runs, key=runs.__getitem__)]
    assert await asyncio.to_thread(victim.stop) == 0
    answer = await telling
    if workers == 1:
        assert answer.error == "worker_lost"
        assert undisturbed.texts[0].startswith(answer.texts[0])
    else:
        assert (answer.error, answer.texts, answer.completion_tokens) == (
            "",
            undisturbed.texts,
            600,
        )
