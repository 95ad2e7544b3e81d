"""One world: frontends, workers and clients on a virtual clock, what befalls them, and the checks
while they run and when they have ended.

python -m tests.simulation.world SEED [LINES]    runs one and tells what it came to, or its last
LINES lines
"""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any, Final
from unittest.mock import patch

from frontend.observe.metrics import FrontendMetrics
from frontend.routing import leaders
from tests.simulation import media, meetings
from tests.simulation.broken import Broken, hold
from tests.simulation.client import Asked, Client
from tests.simulation.drawing import check_drawers, remove_folder
from tests.simulation.frontend import PORT, SimulatedFrontend
from tests.simulation.invariants import (
    FOUND_S_MAX,
    check_frontend,
    check_outcome,
    check_poison,
    unsettled,
)
from tests.simulation.legs import UNBROKEN, LegWaits, rooms_left
from tests.simulation.lives import (
    FORGOTTEN_S,
    Steadiness,
    Unwanted,
    check_leaving,
    check_links,
    check_noticed,
    check_worker,
)
from tests.simulation.loop import BEGIN_S, ProcessEnded, Stalled, VirtualLoop, process_of
from tests.simulation.meetings import SaidTrace
from tests.simulation.misfortunes import Misfortunes
from tests.simulation.model import read_model, read_seeing_model
from tests.simulation.network import Network, Weather, is_message
from tests.simulation.pictures import PictureWaits, kept
from tests.simulation.plan import DNS_OUT_S, POISON_SEEDS, SETTLES_S_MAX, UNMOVED, Plan
from tests.simulation.seeds import plan_of
from tests.simulation.trace import Trace
from tests.simulation.worker import SimulatedWorker
from workers.diffusion.outputs import WANTED_S
from workers.encoding.engine import KEPT_S_MAX, OWED_S_MAX
from workers.sim import encoder as sim_encoder
from workers.sim import engine as sim_engine

LOOK_EVERY_S: Final = 0.1
FRONTENDS: Final = "frontends"
"""A headless Service: its name stands for every frontend."""
END_S_MAX: Final = 20.0
"""For faults that are still to come, restarts and connections to come to their end."""
WORLD_S_MAX: Final = 300.0
SHARED_TOKENS_MIN: Final = 64
"""From which on prompts of a world, which are short, wait for each other: a block."""
JOBS_S_MAX: Final = 3.0
"""For all jobs that wait on one worker."""


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
    encoded: int = 0
    """Pictures that were encoded for other workers, or had been before."""


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
        calm = Weather(delay_s=plan.weather.delay_s)
        self.engines = Network(loop, self.random, SaidTrace(trace, meetings.told), calm)
        """By which engines reach each other."""
        whole = replace(plan.weather, drop=0.0, reorder=0.0)  # as TCP's connections are
        self.media = Network(loop, self.random, SaidTrace(trace, media.told), whole)
        """By which workers fetch what others made of pictures."""
        self.metrics = FrontendMetrics()
        """Of all its frontends, and of no other world: what is left of one that broke may still
        count.
        """
        self.frontends: list[SimulatedFrontend] = []
        self.workers: list[SimulatedWorker] = []
        self._all_workers: list[SimulatedWorker] = []
        """Those that are gone too."""
        self._all_frontends: list[SimulatedFrontend] = []
        self._gone_since: dict[str, float] = {}
        """Addresses of frontends that DNS does not name any more."""
        self.clients: dict[int, Client] = {}
        self.deaths = 0
        self.victims: Counter[int] = Counter()
        self._trace = trace
        self._misfortunes = Misfortunes(self)
        self._unwanted = Unwanted(plan)
        self._steadiness = Steadiness(self.metrics.losses)
        self._leg_waits = LegWaits(plan)
        self._picture_waits = PictureWaits(plan)
        self._due = 0
        """Faults, requests and restarts that are still to come."""
        self._over = 0
        """So many requests, the plan's first, have ended or never will."""
        self._closing = False
        self._dns_set_at = 0.0
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
        for slot, spec in enumerate(plan.frontends):
            if spec.starts_s:
                self.after(spec.starts_s, partial(self._start_frontend, slot))
            else:
                self._start_frontend(slot)
        self.workers = [self._start(slot, f"worker-{slot}") for slot in range(len(plan.workers))]
        if plan.dns_out_at_s is not None:
            self.after(plan.dns_out_at_s, partial(self._set_dns, answers=False))
            self.after(plan.dns_out_at_s + DNS_OUT_S, partial(self._set_dns, answers=True))
        for asked in plan.requests:
            if asked.twin_of is None:
                self.after(asked.at_s, partial(self._ask, asked))
        for fault in plan.faults:
            self.after(fault.at_s, partial(self._misfortunes.befall, fault))
        await self._until(self._unanswered, WORLD_S_MAX)
        await self._until(self._still_to_come, END_S_MAX)
        self._misfortunes.heal()
        await self._until(self._still_misfortunate, END_S_MAX)
        await self._until(self._unsettled, self._settles_s())
        if plan.waits_out:
            await self._until(lambda: kept(self.workers), KEPT_S_MAX + LOOK_EVERY_S)
        rooms = sum(map(rooms_left, self.workers))
        hold(not rooms or plan.kind not in UNBROKEN, f"{rooms} rooms are left, and nobody was lost")
        for client in self.clients.values():
            check_outcome(client, plan, self.deaths + self._misfortunes.blows)
        moves = sum(sum(client.outcome.moves) for client in self.clients.values())
        interrupted = any(client.outcome.interrupted for client in self.clients.values())
        # what crosses the Draining of an idle worker, which leaves at once, is moved
        unmoved = not interrupted if plan.kind == "rolling" else not moves
        hold(unmoved or plan.kind not in UNMOVED, f"{moves} moves though no worker was lost")
        check_poison(self.clients, plan, self.victims)
        await self._close()
        return self._result()

    async def _until(self, wait_for: Callable[[], str], seconds: float) -> None:
        """Look again and again until there is nothing to wait for, at the invariants too."""
        end = self.loop.time() + seconds
        while why := wait_for():
            if self.loop.time() > end:
                raise Broken(f"after {seconds} s still {why}")
            await asyncio.sleep(LOOK_EVERY_S)
            if self._broken is not None:
                raise self._broken
            self._look()

    def _look(self) -> None:
        """Look at the invariants."""
        now, kind = self.loop.time(), self.plan.kind
        notices = self.plan.strict and kind != "mild"
        for frontend in self.frontends:
            if not frontend.process.dead:
                check_frontend(frontend, self.clients)
                if notices:
                    check_noticed(frontend, self._all_workers, now)
                check_leaving(frontend, now)
        if kind in UNMOVED:
            self._steadiness.check(self.frontends)
        self._unwanted.check(self.frontends, self.workers, now)
        if self.plan.legs:
            self._leg_waits.check(self.workers, now)
            self._leg_waits.check_hopes(self.frontends, now)
            self._leg_waits.check_pairs(self.frontends, now)
        if self.plan.sees:
            self._picture_waits.check(self.workers, now)
            self._picture_waits.check_leaving(self.frontends)
        if self.plan.draws:
            check_drawers(self.workers)
        for worker in self.workers:
            if worker.up and (links := worker.links):
                check_worker(worker, links, now)
                check_links(worker, links, self._gone_since, now)

    def _unsettled(self) -> str:
        return unsettled(self.frontends, self.workers) or self._still_dialled()

    def _still_dialled(self) -> str:
        dialled = {link.address for worker in self.workers if worker.up for link in worker.links}
        gone = sorted(dialled & self._gone_since.keys())
        return f"{gone} are dialled" if gone else ""

    def _settles_s(self) -> float:
        """A frontend that came late has to be found, and one that is gone to be forgotten."""
        settles_s = SETTLES_S_MAX[self.plan.kind]
        if self.plan.sees:  # what is encoded for nobody, and what nobody fetches
            settles_s += OWED_S_MAX
        if self.plan.draws:  # jobs that went on without their frontends, and what nobody fetches
            settles_s += JOBS_S_MAX + WANTED_S
        seen_at = max(self._dns_set_at, *(each.started_at for each in self.frontends))
        found_at = seen_at + FOUND_S_MAX
        forgotten_at = max(self._gone_since.values(), default=0.0) + FORGOTTEN_S + LOOK_EVERY_S
        return max(settles_s, max(found_at, forgotten_at) - self.loop.time())

    def _unanswered(self) -> str:
        requests = self.plan.requests
        while self._over < len(requests) and self._is_over(requests[self._over]):
            self._over += 1
        if self._over == len(requests):
            return ""
        return f"request {requests[self._over].number} has not ended"

    def _is_over(self, asked: Asked) -> bool:
        """Once it is, it stays so."""
        client = self.clients.get(asked.number)
        if client is not None:
            return client.outcome.ended or client.frontend.process.dead
        # the twin of one whose frontend went before it had answered is never asked
        first = self.clients.get(-1 if asked.twin_of is None else asked.twin_of)
        return first is not None and first.frontend.process.dead and not first.outcome.ended

    def _still_to_come(self) -> str:
        leaving = [
            each.name
            for each in self.frontends
            if each.leaving_since is not None and not each.process.dead
        ]
        return f"{leaving} leave, {self._due} things are to come" if leaving or self._due else ""

    def _still_handing_out(self) -> str:
        """One that encodes does not leave before what it made was fetched, as it may be for a
        while.
        """
        handing = [
            each.worker_id
            for each in self.workers
            if each.up and (each.encoder_engine or each.drawing_engine)
        ]
        return f"{handing} have not left" if handing else ""

    def _still_misfortunate(self) -> str:
        """A worker whose way was parted as the last thing that happened would say goodbye behind
        what is held back, and be gone before that arrives: rightly taken for dead, though nobody
        that is asked to leave has come to harm.
        """
        if self.network.holds_back or self.engines.holds_back or self.media.holds_back:
            return "messages are held back"
        return self._still_to_come()

    def _ask(self, asked: Asked) -> None:
        frontend = self.frontends[asked.frontend]
        self.note(f"request {asked.number} asks {frontend.name}")
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

    def _start_frontend(self, slot: int) -> None:
        frontend = SimulatedFrontend(
            len(self._all_frontends),
            self.plan.frontends[slot],
            self.network,
            self.random,
            self.metrics,
            on_end=lambda frontend: self._note_frontend_end(slot, frontend),
        )
        self.note(f"{frontend.name} starts")
        self._all_frontends.append(frontend)
        self.frontends[slot : slot + 1] = [frontend]
        self.loop.hosts.setdefault(FRONTENDS, []).extend(self._hosts(frontend))

    def _hosts(self, frontend: SimulatedFrontend) -> list[str]:
        return [frontend.host, frontend.other_host] if self.plan.two_ways else [frontend.host]

    def _set_dns(self, *, answers: bool) -> None:
        self.note(f"DNS answers: {answers}")
        self.loop.dns_answers = answers
        self._dns_set_at = self.loop.time()

    def _note_frontend_end(self, slot: int, frontend: SimulatedFrontend) -> None:
        """DNS forgets it, and another takes its place under another address."""
        self.note(f"{frontend.name} ended")
        if self._closing:
            return

        def forget() -> None:
            for host in self._hosts(frontend):
                self.loop.hosts[FRONTENDS].remove(host)
                self._gone_since[f"tcp://{host}:{PORT}"] = self.loop.time()

        self.after(self.random.uniform(0.0, 1.0), forget)
        self.after(self.random.uniform(0.1, 2.0), partial(self._start_frontend, slot))

    def _start(self, slot: int, worker_id: str) -> SimulatedWorker:
        worker = SimulatedWorker(
            worker_id,
            self.random.getrandbits(62),
            self.plan.workers[slot],
            self.network,
            [f"tcp://{FRONTENDS}:{PORT}"],
            engines=self.engines,
            media=self.media,
            host=f"10.2.0.{slot + 1}",
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
            frontend.drain()
        for frontend in self.frontends:
            await self._until(
                lambda frontend=frontend: "" if frontend.process.dead else "a frontend is there",
                frontend.spec.leaves_s_max,
            )
        for worker in self.workers:
            worker.drain()
        await self._until(self._still_to_come, END_S_MAX)
        await self._until(self._still_handing_out, max(OWED_S_MAX, WANTED_S) + LOOK_EVERY_S)
        networks = self.network, self.engines, self.media
        await self._until(
            lambda: "" if all(each.idle for each in networks) else "connected", END_S_MAX
        )
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
        self._closing = True
        for frontend in self._all_frontends:
            frontend.process.kill()
        for worker in self._all_workers:
            worker.kill()
            if worker.folder is not None:
                remove_folder(worker.folder)

    def _result(self) -> Result:
        result = Result(self._trace.digest, self.loop.time() - BEGIN_S, deaths=self.deaths)
        pictures = self.metrics.router.encoding._pictures
        result.encoded = sum(int(pictures.labels(each)._value.get()) for each in ("made", "kept"))
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
    return run_plan(plan_of(seed), lines=lines)[0]


def run_plan(plan: Plan, *, lines: int = 40) -> tuple[Result, Mapping[int, Client]]:
    """Run a world, and tell what each of its requests came to as well.

    Raises:
        Broken: as `run`.
    """
    trace = Trace()
    loop = VirtualLoop(end_s=2 * WORLD_S_MAX)
    world = World(plan, loop, trace)

    def on_exception(_: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ProcessEnded):
            world.defect(f"{context.get('message')}: {error!r}")

    loop.set_exception_handler(on_exception)
    try:
        read = read_seeing_model if plan.sees else read_model
        with (
            patch.object(sim_engine, "read_model", read),
            patch.object(sim_encoder, "read_model", read),
            patch.object(leaders, "SHARED_TOKENS_MIN", SHARED_TOKENS_MIN),
        ):
            return loop.run_until_complete(world.live()), world.clients
    except (Broken, Stalled) as problem:
        replay = f"KVMESH_SIM_SEED={plan.seed} .venv/bin/pytest tests/simulation"
        raise Broken(
            f"seed {plan.seed} ({plan.kind}): {problem}\nreplay: {replay}\n{trace.told(lines)}"
        ) from problem
    finally:
        world.end()
        loop.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    print(run(int(sys.argv[1]), lines=int(sys.argv[2]) if sys.argv[2:] else 100))
