"""What must hold of requests in two legs: both are booked and both are given back, no leg waits
longer than it may, and at rest nothing of any is left.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from frontend.fleet.encoders import ENCODE, PROCESS
from frontend.fleet.model_entry import DECODE, PREFILL, RUNNING, WHOLE
from tests.simulation.broken import Broken, hold
from tests.simulation.frontend import SimulatedFrontend
from tests.simulation.pictures import FETCH_S_MAX
from tests.simulation.plan import Plan
from tests.simulation.worker import SimulatedWorker
from workers.sim.handover.decode import DecodeLegs
from workers.sim.handover.messages import WAIT_S_MAX
from workers.sim.handover.prefill import ROOMS_MAX, PrefillLegs

WAIT_SLACK_S: Final = 0.2
"""Until the next look."""

HOPELESS_S_MAX: Final = 0.6
"""Until the next beat of a frontend, by which those who wait look whether they still hope."""

ALONE_S_MAX: Final = 4.0
"""What was handed over before goes on, and an engine that hangs is noticed."""

UNSTALLED_S_MAX: Final = 10.0
"""Where nothing stalls or is lost between engines: whatever else ends a leg is told to the other,
and what would have to wait for long waits in the frontend.
"""

UNDISTURBED_S_MAX: Final = 5.0
"""Where nothing befalls engines either."""

HELPING: Final = frozenset((PREFILL, ENCODE, PROCESS))
"""Stages of workers whose legs end before the answer does."""

_STALLS: Final = frozenset(("cache-stalled", "caches-stalled", "legs-part", "legs-break"))

UNBROKEN: Final = frozenset(("calm", "mild", "overload"))
"""Kinds of world in which no worker is lost; rooms are left by such alone."""


def serve_alone(stages: Iterable[str]) -> bool:
    """Whether workers of these stages run requests without any other."""
    found = set(stages)
    return WHOLE in found or {PREFILL, DECODE} <= found


def check_bookings(frontend: SimulatedFrontend) -> None:
    """A request is booked on the worker that generates its answer, and on those that compute its
    prompt or encode its pictures while they do.
    """
    mesh, booked = frontend.mesh, 0
    for worker in mesh.registry.workers.values():
        helps = worker.hello.stage in HELPING
        for request_id in worker.bookings:
            if not (
                worker in mesh._helping.get(request_id, ())
                if helps
                else mesh._placed.get(request_id) is worker
            ):
                raise Broken(
                    f"{frontend.name} has booked {request_id} on {worker.worker_id} for no leg"
                )
        booked += len(worker.bookings)
    legs = len(mesh._placed) + sum(map(len, mesh._helping.values()))
    if booked != legs:
        raise Broken(f"{frontend.name} has {legs} legs and booked {booked}")
    if not mesh._helping.keys() <= mesh._placed.keys():
        raise Broken(f"{frontend.name} has somebody helped for nobody: {list(mesh._helping)}")


def wanted(frontend: SimulatedFrontend, worker: SimulatedWorker, request_id: str) -> bool:
    """Whether a frontend waits for what a worker does of a request."""
    mesh = frontend.mesh
    if worker.stage in HELPING:
        helpers = mesh._helping.get(request_id, ())
        return any(each.worker_id == worker.worker_id for each in helpers)
    return request_id in mesh._placed


class LegWaits:
    """How long engines keep legs, and requests wait for workers of which there are none."""

    def __init__(self, plan: Plan) -> None:
        befalls = {fault.kind for fault in plan.faults}
        self._stalls = plan.kind == "lossy" or not befalls.isdisjoint(_STALLS)
        # A host that vanishes takes what is said to it until its connections are missed, also where
        # an engine is up there again by then: a real one's time-outs end such a wait.
        loses = self._stalls or "vanish" in befalls
        self._limit_s = WAIT_S_MAX + WAIT_SLACK_S if loses else UNSTALLED_S_MAX
        if not loses and plan.kind in ("calm", "overload"):
            self._limit_s = UNDISTURBED_S_MAX
        if plan.sees:  # a prompt whose pictures cannot be fetched goes on elsewhere
            self._limit_s = min(WAIT_S_MAX + WAIT_SLACK_S, self._limit_s + FETCH_S_MAX)
        self._since: dict[tuple[int, str], float] = {}
        self._hopeless_since: dict[int, float] = {}
        self._alone_since: dict[str, float] = {}

    def check_hopes(self, frontends: Sequence[SimulatedFrontend], now: float) -> None:
        """Nobody waits for a worker where nobody runs requests, nor will before long."""
        for frontend in frontends:
            registry = frontend.mesh.registry
            waiting = any(len(entry.queue) for entry in registry.entries())
            known = [each for each in registry.workers.values() if each.hello.stage in RUNNING]
            serving = {worker.hello.stage for worker in known if worker.takes_work}
            hoped = {worker.hello.stage for worker in known if not worker.takes_work}
            hoped |= {missed.stage for missed in registry.missed} & RUNNING
            hopeless = not serve_alone(serving) and hoped <= serving
            if not (waiting and hopeless) or frontend.process.dead or frontend.process.stopped:
                self._hopeless_since.pop(frontend.number, None)
                continue
            since = self._hopeless_since.setdefault(frontend.number, now)
            if now - max(since, frontend.process.woken_at) > HOPELESS_S_MAX:
                raise Broken(f"{frontend.name} has requests wait for nobody since {since:.2f}")

    def check_pairs(self, frontends: Sequence[SimulatedFrontend], now: float) -> None:
        """Nobody waits for a cache whose prefill worker is gone, where no cache is lost on its
        way.
        """
        if self._stalls:
            return
        before, self._alone_since = self._alone_since, {}
        for frontend in frontends:
            if frontend.process.dead or frontend.process.stopped:
                continue
            known = list(frontend.mesh.registry.workers.values())
            connected = {id(rank) for worker in known for rank in worker.ranks}
            for worker in known:
                if worker.hello.stage != DECODE or worker.unhealthy:
                    continue
                for request_id, booking in worker.bookings.items():
                    stream = booking.stream
                    if stream.tokens_received or id(stream.prefill_placement.rank) in connected:
                        continue
                    since = max(before.get(request_id, now), frontend.process.woken_at)
                    self._alone_since[request_id] = since
                    if now - since > ALONE_S_MAX:
                        raise Broken(
                            f"{frontend.name} has {request_id} wait for "
                            f"{stream.prefill_placement.rank.key}, which is gone"
                        )

    def check(self, workers: Sequence[SimulatedWorker], now: float) -> None:
        """None waits for the other longer than it may, nor is forgotten in a table."""
        before, self._since = self._since, {}
        for worker in workers:
            if not worker.up or worker.process.stopped or worker.legs is None:
                continue
            for what, request_id in _waiting(worker):
                key = worker.epoch, f"{what} {request_id}"
                since = self._since[key] = max(before.get(key, now), worker.process.woken_at)
                if now - since > self._limit_s:
                    raise Broken(
                        f"{worker.worker_id} has {what} {request_id} for {now - since:.1f} s"
                    )


def _waiting(worker: SimulatedWorker) -> list[tuple[str, str]]:
    """What an engine waits for, and for which request."""
    legs = worker.legs
    if isinstance(legs, PrefillLegs):
        hold(len(legs._met) <= ROOMS_MAX, f"{worker.worker_id} remembers {len(legs._met)} rooms")
        hold(
            legs._ids == {room: request_id for request_id, room in legs._rooms.items()},
            f"{worker.worker_id}: rooms {legs._rooms} and their requests {legs._ids} differ",
        )
        return [("not met", each) for each in legs._waiting] + [
            ("not handed over", each) for each in legs._sending
        ]
    assert isinstance(legs, DecodeLegs)
    hold(
        sorted(legs._ids.values()) == sorted(legs._awaited),
        f"{worker.worker_id} awaits {sorted(legs._awaited)} in {legs._ids}",
    )
    return [("awaited", each) for each in legs._awaited]


def left(worker: SimulatedWorker) -> str:
    """What an engine keeps of legs, or of their caches, that have all ended; empty if nothing."""
    if worker.kv_tokens_used:
        return f"{worker.worker_id} holds {worker.kv_tokens_used} tokens' cache"
    legs = worker.legs
    tables: list[object] = []
    if isinstance(legs, PrefillLegs):
        tables = [legs._waiting, legs._rooms, legs._ids, legs._sending]
    elif isinstance(legs, DecodeLegs):
        tables = [legs._coming, legs._awaited, legs._ids]
    return f"{worker.worker_id} keeps legs: {tables}" if any(tables) else ""


def rooms_left(worker: SimulatedWorker) -> int:
    """Rooms in which somebody waits, or did before it was gone."""
    return len(worker.legs._met) if isinstance(worker.legs, PrefillLegs) else 0
