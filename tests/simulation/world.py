"""One world: frontends, workers and clients on a virtual clock, what befalls them, and the checks
while they run and when they have ended.

python -m tests.simulation.world SEED [LINES]    runs one and tells what it came to, or its last
LINES lines
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final
from unittest.mock import patch

from tests.simulation.client import Asked, Client
from tests.simulation.frontend import SimulatedFrontend
from tests.simulation.invariants import (
    Broken,
    check_frontend,
    check_noticed,
    check_outcome,
    check_poison,
    check_worker,
    hold,
    unsettled,
)
from tests.simulation.loop import BEGIN_S, ProcessEnded, Stalled, VirtualLoop, process_of
from tests.simulation.misfortunes import Misfortunes
from tests.simulation.model import read_model
from tests.simulation.network import Network, is_message
from tests.simulation.plan import POISON_SEEDS, SETTLES_S_MAX, UNMOVED, Plan, plan_of
from tests.simulation.trace import Trace
from tests.simulation.worker import SimulatedWorker
from workers.sim import engine as sim_engine

LOOK_EVERY_S: Final = 0.1
END_S_MAX: Final = 20.0
"""For faults that are still to come, restarts and connections to come to their end."""
WORLD_S_MAX: Final = 300.0


@dataclass
class Result:
    """What a run came to. `failed` counts errors by code."""

    digest: int
    virtual_s: float
    completed: int = 0
    left: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    moves: int = 0
    deaths: int = 0


class World:
    """Lives once.

    Attributes:
        deaths: workers that ended without being asked to.
        victims: seed of a poison request → workers that died of it.
    """

    def __init__(self, plan: Plan, loop: VirtualLoop, trace: Trace) -> None:
        self.plan = plan
        self.loop = loop
        self.random = Random(plan.seed + (1 << 40))
        self.network = Network(loop, self.random, trace, plan.weather)
        self.frontends: list[SimulatedFrontend] = []
        self.workers: list[SimulatedWorker] = []
        self._all_workers: list[SimulatedWorker] = []
        """Those that are gone too."""
        self.clients: dict[int, Client] = {}
        self.deaths = 0
        self.victims: Counter[int] = Counter()
        self._trace = trace
        self._misfortunes = Misfortunes(self)
        self._due = 0
        """Faults, requests and restarts that are still to come."""
        self._closing = False
        self._broken: Broken | None = None
        self._context = copy_context()

    def note(self, what: str) -> None:
        """Something happened."""
        self._trace.event(self.loop.time(), what)

    def defect(self, what: str) -> None:
        """Something that no world may bring about."""
        self._broken = self._broken or Broken(what)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Do something later, whatever becomes of the process that asks."""
        self._due += 1

        def now() -> None:
            self._due -= 1
            call()

        self.loop.call_later(seconds, now, context=self._context)

    async def live(self) -> Result:
        """From the first start to the last end."""
        plan = self.plan
        self.frontends = [
            SimulatedFrontend(number, spec, self.network, self.random)
            for number, spec in enumerate(plan.frontends)
        ]
        self.workers = [self._start(slot, f"worker-{slot}") for slot in range(len(plan.workers))]
        for asked in plan.requests:
            if asked.twin_of is None:
                self.after(asked.at_s, partial(self._ask, asked))
        for fault in plan.faults:
            self.after(fault.at_s, partial(self._misfortunes.befall, fault))
        await self._until(self._unanswered, WORLD_S_MAX)
        await self._until(self._still_to_come, END_S_MAX)
        self._misfortunes.heal()
        await self._until(self._still_to_come, END_S_MAX)
        await self._until(lambda: unsettled(self.frontends, self.workers), SETTLES_S_MAX[plan.kind])
        for client in self.clients.values():
            check_outcome(client, plan, self.deaths + self._misfortunes.blows)
        moves = sum(sum(client.outcome.moves) for client in self.clients.values())
        hold(not moves or plan.kind not in UNMOVED, f"{moves} moves though no worker was lost")
        check_poison(self.clients, plan, self.victims)
        await self._close()
        return self._result()

    async def _until(self, wait_for: Callable[[], str], seconds: float) -> None:
        """Look again and again until there is nothing to wait for, at the invariants too."""
        end = self.loop.time() + seconds
        while why := wait_for():
            hold(self.loop.time() <= end, f"after {seconds} s still {why}")
            await asyncio.sleep(LOOK_EVERY_S)
            if self._broken is not None:
                raise self._broken
            for frontend in self.frontends:
                if not frontend.process.dead:
                    check_frontend(frontend, self.clients)
                    if self.plan.strict and self.plan.kind != "mild":
                        check_noticed(frontend, self._all_workers, self.loop.time())
            for worker in self.workers:
                if worker.up and worker.links:
                    check_worker(worker)

    def _unanswered(self) -> str:
        ended = [
            number
            for number, client in self.clients.items()
            if client.outcome.ended or client.frontend.process.dead
        ]
        missing = sorted(
            {asked.number for asked in self.plan.requests} - set(ended) - self._never_asked()
        )
        return f"requests {missing} have not ended" if missing else ""

    def _never_asked(self) -> set[int]:
        """Twins of requests whose frontend is gone."""
        return {
            asked.number
            for asked in self.plan.requests
            if asked.twin_of is not None and self.frontends[asked.frontend].process.dead
        }

    def _still_to_come(self) -> str:
        return f"{self._due} things are to come" if self._due else ""

    def _ask(self, asked: Asked) -> None:
        frontend = self.frontends[asked.frontend]
        self.note(f"request {asked.number} asks {frontend.address}")
        client = self.clients[asked.number] = Client(asked, frontend, self._note_answer)
        if asked.leaves_after_s is not None:
            self.after(asked.leaves_after_s, client.leave)

    def _note_answer(self, client: Client) -> None:
        asked, outcome = client.asked, client.outcome
        self.note(
            f"request {asked.number} ended: {outcome.error!r} left={outcome.left} {outcome.texts}"
        )
        try:
            check_frontend(client.frontend, self.clients)
        except Broken as problem:
            self._broken = self._broken or problem
        if outcome.defect is not None:
            self.defect(f"request {asked.number} raised {outcome.defect!r}")
        for twin in self.plan.requests:
            if twin.twin_of == asked.number:
                self.after(0.01, partial(self._ask, twin))

    def _start(self, slot: int, worker_id: str) -> SimulatedWorker:
        worker = SimulatedWorker(
            worker_id,
            self.random.getrandbits(62),
            self.plan.workers[slot],
            self.network,
            [frontend.address for frontend in self.frontends],
            on_end=lambda worker, died: self._note_end(slot, worker, died),
            on_fault=self._note_fault,
        )
        self._all_workers.append(worker)
        return worker

    def _note_fault(self, seed: int) -> None:
        if seed in POISON_SEEDS:
            self.victims[seed] += 1

    def _note_end(self, slot: int, worker: SimulatedWorker, died: bool) -> None:
        """A supervisor starts another, under the same name or not."""
        self.note(f"{worker.worker_id} {'died' if died else 'left'}")
        self.deaths += died
        worker_id = (
            worker.worker_id
            if self.random.random() < 0.7
            else f"worker-{slot}-{self.random.getrandbits(16)}"
        )
        if not self._closing:
            self.after(self.random.uniform(0.1, 2.0), partial(self._restart, slot, worker_id))

    def _restart(self, slot: int, worker_id: str) -> None:
        self.note(f"{worker_id} starts")
        self.workers[slot] = self._start(slot, worker_id)

    async def _close(self) -> None:
        """Workers first or frontends first; then nothing may be left that would still do
        something.
        """
        self._closing = True
        if self.random.random() < 0.5:
            for worker in self.workers:
                worker.drain()
        for frontend in self.frontends:
            if not frontend.process.dead:
                await frontend.close()
        for worker in self.workers:
            worker.drain()
        await self._until(self._still_to_come, END_S_MAX)
        await self._until(lambda: "" if self.network.idle else "connected", END_S_MAX)
        await asyncio.sleep(1.0)
        left = [
            f"{handle} of {process.name}"
            for handle in self.loop.left()
            if (process := process_of(handle)) and not is_message(handle)
        ]
        hold(not left, f"callbacks are left: {left}")
        processes = [
            each.process for each in (*self.frontends, *self.workers) if not each.process.dead
        ]
        tasks = [task for process in processes for task in process.tasks if not task.done()]
        hold(not tasks, f"tasks are left: {tasks}")

    def end(self) -> None:
        """Of a world that broke, tasks are left."""
        for each in (*self.frontends, *self._all_workers):
            each.process.kill()

    def _result(self) -> Result:
        result = Result(self._trace.digest, self.loop.time() - BEGIN_S, deaths=self.deaths)
        for client in self.clients.values():
            outcome = client.outcome
            result.moves += sum(outcome.moves)
            if outcome.error is not None:
                result.failed[outcome.error.code] += 1
            elif outcome.left:
                result.left += 1
            elif outcome.ended:
                result.completed += 1
        return result


def run(seed: int, *, lines: int = 40) -> Result:
    """Run the world of a seed.

    Raises:
        Broken: an invariant does not hold; the end of the trace is told with it.
    """
    plan, trace = plan_of(seed), Trace()
    loop = VirtualLoop(end_s=2 * WORLD_S_MAX)
    world = World(plan, loop, trace)

    def on_exception(_: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ProcessEnded):
            world.defect(f"{context.get('message')}: {error!r}")

    loop.set_exception_handler(on_exception)
    try:
        with patch.object(sim_engine, "read_model", read_model):
            return loop.run_until_complete(world.live())
    except (Broken, Stalled) as problem:
        replay = f"KVMESH_SIM_SEED={seed} .venv/bin/pytest tests/simulation"
        raise Broken(
            f"seed {seed} ({plan.kind}): {problem}\nreplay: {replay}\n{trace.told(lines)}"
        ) from problem
    finally:
        world.end()
        loop.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(run(int(sys.argv[1]), lines=int(sys.argv[2]) if sys.argv[2:] else 100))
