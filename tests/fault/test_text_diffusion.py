"""Workers that make text by diffusion die, hang and are left by their clients in the middle of
blocks.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator

import pytest

from starter.process import Process
from tests.fault.raw_http import asked, requests_running
from tests.fault.streams import (
    ENGINE_DEATH_SEED,
    STREAMS,
    Told,
    body,
    lost_workers,
    moved,
    start_workers,
    tell_all,
    tell_all_whole,
    told_in_peace,
)
from tests.fleet.test_kv_routing import workers_of
from tests.kit.fleet import Fleet
from workers.process.departure import EXIT_ENGINE_DIED

DIFFUSING = ("--dllm-algorithm", "LowConfidence", "--sim-dllm-block", "8", "--sim-dllm-steps", "6")


@pytest.fixture
def workers(fleet: Fleet) -> Iterator[dict[str, Process]]:
    fleet.frontend()
    workers = start_workers(fleet, 3, *DIFFUSING)
    yield workers
    for worker in workers.values():
        if worker.popen.poll() is None:
            worker.popen.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("tell_them", [tell_all, tell_all_whole])
async def test_a_killed_workers_answers_go_on_elsewhere(
    fleet: Fleet, workers: dict[str, Process], tell_them: Callable[..., Awaitable[list[Told]]]
) -> None:
    undisturbed = await told_in_peace(fleet, tell_them, temperature=0)
    answers = await tell_them(
        fleet, lambda: workers["w1"].popen.send_signal(signal.SIGKILL), temperature=0
    )
    assert answers == undisturbed
    assert (moved(fleet, cause="died"), lost_workers(fleet, "died")) == (pytest.approx(4, abs=3), 1)


async def test_a_stopped_worker_is_found_out_between_its_blocks(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    undisturbed = await told_in_peace(fleet, tell_all, temperature=0)
    answers = await tell_all(
        fleet, lambda: workers["w2"].popen.send_signal(signal.SIGSTOP), temperature=0
    )
    assert answers == undisturbed
    assert lost_workers(fleet) == 1


async def test_an_engine_that_dies_with_a_block_under_way_is_the_end_of_its_worker_alone(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    """The seed asks for it: where the answer is one anyway, seeds are taken."""
    assert len(workers) == 3
    undisturbed = await told_in_peace(fleet, tell_all, temperature=0)

    def die() -> None:
        to_w0 = {"nvext": {"backend_instance_id": "w0"}}
        with asked(fleet, body(99, seed=ENGINE_DEATH_SEED) | to_w0):
            fleet.wait_until(
                lambda: lost_workers(fleet) == 1,
                "its worker has left",
                may_end=[EXIT_ENGINE_DIED],
            )

    assert await tell_all(fleet, die, temperature=0) == undisturbed


async def test_clients_that_leave_in_the_middle_of_blocks_leave_nothing_behind(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    connections = [
        asked(fleet, body(number, max_tokens=8_000, stream=bool(number % 2)))
        for number in range(4 * STREAMS)
    ]
    running = len(connections)
    fleet.wait_until(lambda: requests_running(fleet) == running, "all run")
    await asyncio.to_thread(lambda: [each.recv(1) for each in connections[1::2]])
    for connection in connections:
        connection.close()

    def idle() -> bool:
        counts = ("requests", "engine_requests", "engine_kv_tokens")
        return not any(sum(each[count]) for each in workers_of(fleet) for count in counts)

    fleet.wait_until(idle, "nothing is left")
    assert len(workers_of(fleet)) == len(workers)
