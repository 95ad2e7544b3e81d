"""Pictures that clients have made: what is asked for, who makes it, and what must come of it."""

import asyncio
import io
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from protocol.diffusion import Diffuse
from tests.simulation.broken import Broken, hold
from workers.diffusion.engine import DiffusionEngine
from workers.diffusion.outputs import Keeping, Outputs
from workers.diffusion.pace import PaceLimits
from workers.engine import EngineFacts, OnDeath
from workers.sim.drawing import Drawing, write_picture
from workers.sim.faults import Faults
from workers.sim.generator import SimGenerator
from workers.sim.settings import SimSettings

if TYPE_CHECKING:
    from tests.simulation.client import Asked, Client
    from tests.simulation.plan import Plan
    from tests.simulation.worker import SimulatedWorker

SIDE_PIXELS: Final = 8
KEEPING: Final = Keeping(bytes_max=4_000, lifetime_s=20.0)
"""So little that what was fetched makes room for what is made."""

PACE: Final = PaceLimits(first_step_s_max=0.3, step_s_min=0.3, step_s_max=0.3)
"""A generator that stands still is found out as soon as an engine of text is."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a client has made, beside prompt and seed."""

    outputs: int
    steps: int
    previews: int
    job: bool


@dataclass
class Received:
    """What came of it.

    Attributes:
        lost: it was made, and could not be fetched any more.
        percents: told of each of its legs.
    """

    pictures: list[bytes] = field(default_factory=list[bytes])
    previews: int = 0
    lost: bool = False
    percents: list[list[int]] = field(default_factory=lambda: [list[int]()])


class MortalGenerator(SimGenerator):
    """A generator that dies for good, as the other engines here do."""

    def __init__(self, settings: SimSettings, faults: Faults) -> None:
        super().__init__(settings, videos=False, faults=faults)
        self._on_death: OnDeath = lambda _: None

    async def start(self, on_death: OnDeath) -> EngineFacts:
        """As SimGenerator."""
        self._on_death = on_death
        return await super().start(on_death)

    def _die(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(self._on_death, "the simulated generator died")


def drawing_engine(
    generator: MortalGenerator, folder: Path, unix_ms: Callable[[], float], tag: int
) -> DiffusionEngine:
    """The engine of a worker that makes pictures; ids are drawn by no lot."""
    lots = count()
    outputs = Outputs(
        folder, KEEPING, unix_ms=unix_ms, new_lot=lambda: f"{tag:016x}{next(lots):016x}"
    )
    return DiffusionEngine(
        generator,
        outputs,
        lifetime_s=KEEPING.lifetime_s,
        first_order=lambda facts: Diffuse(
            "0" * 32,
            facts.card.name,
            "first",
            0,
            steps=1,
            width=SIDE_PIXELS,
            height=SIDE_PIXELS,
        ),
        unix_ms=unix_ms,
        pace=PACE,
    )


def new_folder() -> Path:
    """Of one worker; whoever ends the world removes it."""
    return Path(tempfile.mkdtemp(prefix="kvmesh-simulated-"))


def remove_folder(folder: Path) -> None:
    """Of a worker that was killed."""
    shutil.rmtree(folder, ignore_errors=True)


def order_of(asked: "Asked", request_id: str, model: str, deadline: float) -> Diffuse:
    """What is asked of a worker."""
    drawn, seed = asked.drawn, asked.sampling.seed
    assert drawn is not None
    return Diffuse(
        request_id,
        model,
        sha256(asked.prompt).hexdigest(),
        int(deadline * 1000),
        count=drawn.outputs,
        width=SIDE_PIXELS,
        height=SIDE_PIXELS,
        steps=drawn.steps,
        previews=drawn.previews,
        seed=10_000 + asked.number if seed is None else seed,
        job_id=f"{asked.number:032x}" if drawn.job else "",
        priority=asked.priority,
    )


@lru_cache(maxsize=4_096)
def _picture(prompt: str, seed: int) -> bytes:
    file = io.BytesIO()
    drawing = Drawing(prompt, seed, (SIDE_PIXELS, SIDE_PIXELS))
    write_picture(drawing.pixels(), file, "png", 100)
    return file.getvalue()


def check_received(client: "Client", plan: "Plan") -> None:
    """Whoever was answered has all pictures, and those that were asked for."""
    asked, outcome, received = client.asked, client.outcome, client.received
    name = f"request {asked.number}"
    order = order_of(asked, "0" * 32, "m", 0.0)
    expected = [_picture(order.prompt, (order.seed or 0) + index) for index in range(order.count)]
    for percents in received.percents:
        hold(percents == sorted(percents), f"{name} was told less than before: {percents}")
    hold(
        received.pictures == expected[: len(received.pictures)],
        f"{name} has other pictures than it asked for",
    )
    if outcome.error is None and not outcome.left and not received.lost:
        hold(len(received.pictures) == order.count, f"{name} has too few pictures")
        hold(asked.number not in plan.poison, f"{name} is poison and was answered")
    hold(
        not received.lost or plan.kind not in ("calm", "mild", "rolling"),
        f"{name} could not be fetched, though nobody was lost",
    )


def waits_on_few(asked: "Asked", plan: "Plan") -> bool:
    """Whether it is a job, which waits on workers and in no other queue: they grant so little here
    that the others of its frontend may have all of it.
    """
    credit = min(spec.credit_requests for spec in plan.workers)
    return asked.drawn is not None and asked.drawn.job and len(plan.requests) > credit


def check_drawers(workers: Sequence["SimulatedWorker"]) -> None:
    """What is kept keeps to its bounds, and what waits has somebody who will make it."""
    for worker in workers:
        engine = worker.drawing_engine
        if engine is None or engine._closed or not worker.up or worker.process.stopped:
            continue
        if engine._outputs.size_bytes > KEEPING.bytes_max:
            raise Broken(f"{worker.worker_id} keeps {engine._outputs.size_bytes} bytes")
        if len(engine._line) and engine._task is None:
            raise Broken(f"{worker.worker_id} has orders that nobody makes")
        if len(engine._canaries) > 1:
            raise Broken(f"{worker.worker_id} has {len(engine._canaries)} canaries")
        orders = {order.job_id for order in engine._orders()}
        for job_id, job in engine._jobs._jobs.items():
            if job.status in ("queued", "in_progress") and job_id not in orders:
                raise Broken(f"{worker.worker_id} says that {job_id} is {job.status}, and is none")


def drawings_left(worker: "SimulatedWorker") -> str:
    """What is left of orders that nobody waits for any more; empty if nothing is."""
    engine = worker.drawing_engine
    if engine is None:
        return ""
    orders = [order.request_id for order in engine._orders()]
    return f"{worker.worker_id} makes {orders}" if orders or engine._jobs.unfinished else ""
