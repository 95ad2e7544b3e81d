"""Requests that wait for a worker that may come, when it will not."""

import asyncio

import pytest

from frontend.mesh import dispatch
from protocol.errors import NoWorker
from tests.unit.mesh.dispatch_bench import Bench

MODELS = [f"m{number}" for number in range(20)]


async def test_models_that_hope_for_a_worker_try_in_the_order_in_which_they_began_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    for model in MODELS:
        worker = bench.join(f"of-{model}", model=model)
        worker.unhealthy, worker.unhealthy_since = "busy", bench.loop.time()
        bench.registry.refresh(worker)
    begun = MODELS[::2] + MODELS[::-2]  # in no order of names, nor of memory
    ended: list[str] = []

    async def wait(model: str) -> None:
        with pytest.raises(NoWorker):
            await bench.place(model=model)
        ended.append(model)

    waiting = [asyncio.ensure_future(wait(model)) for model in begun]
    await asyncio.sleep(0)
    monkeypatch.setattr(dispatch, "hopes", lambda *_, **__: [])
    bench.dispatch.let_hopes_try()
    await asyncio.gather(*waiting)
    assert ended == begun
