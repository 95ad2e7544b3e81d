"""A picture that is made leaves its worker to the next one while it is being written."""

import asyncio

from msgspec.structs import replace

from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.mesh.offer import Offer
from frontend.routing.route import RouteRequest
from protocol.diffusion import Diffuse, Diffused, Progress
from protocol.generation import Extras
from protocol.replies import Delta, StepBatch
from tests.unit.inflight.job_bench import settled
from tests.unit.mesh.dispatch_bench import CAPACITY, Bench

ONE_AT_A_TIME = replace(
    CAPACITY, requests_running_max=1, requests_queued_max=64, orders_by_priority=True
)


def asked(bench: Bench, number: int) -> "asyncio.Task[RequestStream]":
    request = Diffuse(f"{number:032x}", "m", "a fox", 1 << 60)
    route = RouteRequest(b"", cacheable=False, cost_tokens=request.cost)
    placing = bench.dispatch.place(bench.entry, Offer(request, route), Wakeup(bench.loop))
    return bench.loop.create_task(placing)


async def test_the_next_is_sent_when_one_is_made_and_once() -> None:
    bench = Bench()
    workers = {name: bench.join(name, service="images", capacity=ONE_AT_A_TIME) for name in "ab"}
    placed = [asked(bench, number) for number in range(5)]

    async def sent() -> int:
        await settled()
        return sum(task.done() for task in placed)

    assert await sent() == 2
    first = placed[0].result()
    worker = workers[first.worker_id]

    def take(delta: Delta) -> None:
        bench.dispatch.take_step(worker, StepBatch([delta]))

    def told(percent: int) -> Delta:
        return Delta(first.request_id, 0, b"", extras=Extras(progress=Progress(percent)))

    take(told(99))
    assert await sent() == 2
    take(told(100))
    take(told(100))
    assert await sent() == 3
    assert worker.ranks[0].requests == 1
    take(Delta(first.request_id, 0, b"", Diffused([])))
    assert await sent() == 3
    assert first.diffused is not None
    assert worker.ranks[0].requests == 1
    for task in placed[1:]:
        bench.dispatch.abort(await task)
    assert [each.ranks[0].requests for each in workers.values()] == [0, 0]
