"""What must hold of pictures that one worker encodes for others: nothing is awaited for longer than
it may be, and at rest nothing is left of any request.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from frontend.fleet.worker import Phase
from tests.simulation.broken import Broken, hold
from workers.encoding.engine import EARLY_S_MAX, KEPT_S_MAX, EncoderEngine
from workers.encoding.fetching import ASK_AGAIN_S, UNANSWERED_MAX
from workers.encoding.jobs import Job
from workers.engine import CANARY_PREFIX

if TYPE_CHECKING:
    from tests.simulation.frontend import SimulatedFrontend
    from tests.simulation.plan import Plan
    from tests.simulation.worker import SimulatedWorker

DAMAGED: Final = 13
"""The digest of a picture that no encoder can read."""

LOOK_S: Final = 0.3
"""Until the next look, and the turn of the loop in which somebody is told."""

FETCH_S_MAX: Final = UNANSWERED_MAX * ASK_AGAIN_S + EARLY_S_MAX + LOOK_S
"""A worker that encodes and does not answer is given up: by its frontend within some seconds, or by
who fetches, after so many questions; one that is there again knows nothing of the request.
"""

FETCH_CALM_S_MAX: Final = ASK_AGAIN_S - 0.1
"""Where nothing befalls anybody, nobody has to ask again."""


class PictureWaits:
    """How long encoders keep what they made, and workers wait for it; who leaves gets no more."""

    def __init__(self, plan: "Plan") -> None:
        self._fetch_s_max = FETCH_CALM_S_MAX if plan.kind == "calm" else FETCH_S_MAX
        self._since: dict[tuple[int, str], float] = {}
        self._last: dict[tuple[int, int], set[str]] = {}
        """Frontend, worker that leaves → requests that it had when that was seen."""

    def check_leaving(self, frontends: Sequence["SimulatedFrontend"]) -> None:
        """No worker that leaves is given pictures."""
        for frontend in frontends:
            for worker in frontend.mesh.registry.encoders.workers:
                if worker.phase is Phase.DRAINING:
                    key = frontend.number, worker.hello.epoch
                    last = self._last.setdefault(key, set(worker.bookings))
                    if not worker.bookings.keys() <= last:
                        raise Broken(f"{frontend.name} has {worker.worker_id}, which leaves, work")

    def check(self, workers: Sequence["SimulatedWorker"], now: float) -> None:
        """Nothing waits longer than it may, and whatever waits has somebody who will end it."""
        before, self._since = self._since, {}
        for worker in workers:
            if not worker.up or worker.process.stopped:
                continue
            for what, limit_s in _waiting(worker, self._fetch_s_max):
                key = worker.epoch, what
                since = self._since[key] = max(before.get(key, now), worker.process.woken_at)
                if now - since > limit_s:
                    raise Broken(f"{worker.worker_id} has {what} for {now - since:.1f} s")


def _waiting(worker: "SimulatedWorker", fetch_s_max: float) -> list[tuple[str, float]]:
    """What a worker keeps or waits for, and for how long at most."""
    fetched, engine = worker.fetching._waiting, worker.encoder_engine
    if engine is not None:
        return _kept_by(worker, engine)
    if not fetched:
        return []
    if not fetched.keys() <= worker.intake._owners.keys():
        raise Broken(f"{worker.worker_id} fetches pictures for nobody: {list(fetched)}")
    return [(f"fetched the pictures of {each}", fetch_s_max) for each in fetched]


def _kept_by(worker: "SimulatedWorker", engine: EncoderEngine) -> list[tuple[str, float]]:
    """What an encoder keeps, or is to encode."""
    jobs = [*engine._jobs.waiting, *engine._jobs.batch]
    if jobs and not (engine._running or worker.intake.closed):
        raise Broken(f"{worker.worker_id} has pictures that nobody encodes")
    shelf = engine._shelf
    if shelf.size_bytes > shelf._bytes_max:
        raise Broken(f"{worker.worker_id} keeps {shelf.size_bytes} bytes of pictures")
    if len(engine._canaries) > 1:
        raise Broken(f"{worker.worker_id} has {len(engine._canaries)} canaries")
    found = _kept_orders(worker, engine, jobs)
    for request_id, asked in engine._early.items():
        hold(len(asked) <= 2, f"{worker.worker_id} is asked {len(asked)} times for {request_id}")
        what = f"been asked early for {request_id} ({id(asked)})"  # at times twice, one by one
        found.append((what, EARLY_S_MAX + LOOK_S))
    return found


def _kept_orders(
    worker: "SimulatedWorker", engine: EncoderEngine, jobs: Sequence[Job]
) -> list[tuple[str, float]]:
    """Those of requests, each of whose pictures is made or will be."""
    found: list[tuple[str, float]] = []
    wanted = {(order, job.picture.digest) for job in jobs for order in job.orders}
    for request_id, order in engine._orders.items():
        if order.ended:
            if order.told and order.fetchers:
                raise Broken(f"{worker.worker_id} does not answer about {request_id}")
            found.append((f"kept {request_id}", KEPT_S_MAX + LOOK_S))
        elif order.complete:
            found.append((f"told nobody of {request_id}", LOOK_S))
        else:
            for picture in order.request.media:
                if picture.digest not in order.made and (order, picture.digest) not in wanted:
                    raise Broken(f"{worker.worker_id} has forgotten a picture of {request_id}")
    return found


def pictures_left(worker: "SimulatedWorker") -> str:
    """What is left of pictures that nobody waits for any more; empty if nothing is."""
    if worker.fetching._waiting:
        return f"{worker.worker_id} fetches {list(worker.fetching._waiting)}"
    engine = worker.encoder_engine
    if engine is None:
        return ""
    undone = [request_id for request_id, each in engine._orders.items() if not each.ended]
    if undone or engine._jobs.waiting or engine._jobs.batch or engine._running:
        return f"{worker.worker_id} encodes for {undone}"
    return ""


def kept(workers: Sequence["SimulatedWorker"]) -> str:
    """What encoders still keep for requests, or owe an answer for; empty if nothing."""
    for worker in workers:
        engine = worker.encoder_engine
        if engine is not None:
            orders = [each for each in engine._orders if not each.startswith(CANARY_PREFIX)]
            if orders or engine._early or engine._owed:
                early, owed = list(engine._early), len(engine._owed)
                return f"{worker.worker_id} keeps {orders}, is asked for {early}, owes {owed}"
    return ""
