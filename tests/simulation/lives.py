"""What must hold of processes: who is gone, leaves, hangs or begins anew is seen in time."""

from collections.abc import Mapping, Sequence
from typing import Final

from frontend.observe.loss_metrics import LossMetrics
from protocol.limits import HEARTBEAT_INTERVAL_S, WORKER_SILENT_S_MAX
from tests.simulation.broken import Broken, hold
from tests.simulation.drawing import PACE
from tests.simulation.frontend import SimulatedFrontend
from tests.simulation.legs import serve_alone, wanted
from tests.simulation.plan import Plan
from tests.simulation.worker import HEALTH, NotedDeparture, SimulatedWorker
from workers.mesh.frontend_link import FrontendLink

END_SEEN_S: Final = 0.6
"""Until the next beat, there and back."""

LOSSY: Final = frozenset(("lossy", "everything"))

UNWANTED_S: Final = 2.0
"""What has no room has it after less than a second, and aborts are sent again with every beat."""

UNWANTED_LOSSY_S: Final = 8.0
"""A worker that hears nothing of a frontend ends its requests after four seconds, and messages may
be late by two.
"""

LOOK_SLACK_S: Final = 0.5
"""For what was sent to leave, and until the next look."""

FORGOTTEN_S: Final = 4.0 + 2 * 5.0 + LOOK_SLACK_S
"""A frontend is silent for so long before it is given up, and addresses are looked at only now and
then.
"""

GOODBYE_SEEN_S: Final = 0.05
"""It was said before the end."""

SILENCE_SEEN_S: Final = WORKER_SILENT_S_MAX + 2 * HEARTBEAT_INTERVAL_S + 0.1
"""The last beat was sent, and the next look is taken, within an interval each."""

HANG_SEEN_S: Final = (
    HEALTH.limits.idle_silence_s + HEALTH.limits.answer_s + 6 * HEARTBEAT_INTERVAL_S
)


def check_noticed(
    frontend: SimulatedFrontend, workers: Sequence[SimulatedWorker], now: float
) -> None:
    """Whoever is gone, stands still, hangs or drains is known to, soon enough.

    Where nothing is lost on the way.
    """
    known = {worker.hello.epoch: worker for worker in frontend.mesh.registry.workers.values()}
    for worker in workers:
        seen = known.get(worker.epoch)
        if seen is None:
            continue
        where = f"{frontend.name}: {worker.worker_id}"
        if worker.ended_at is not None:
            limit_s = SILENCE_SEEN_S if worker.vanished else END_SEEN_S
            if worker.ended_in_peace:
                limit_s = GOODBYE_SEEN_S
            hold(
                now - worker.ended_at <= limit_s,
                f"{where} ended {now - worker.ended_at:.2f} s ago and is still known",
            )
        elif worker.process.stopped:
            stopped_s = now - worker.process.stopped_at
            hold(
                stopped_s <= SILENCE_SEEN_S,
                f"{where} has been stopped for {stopped_s:.2f} s and is still known",
            )
        elif worker.hung_since is not None and worker.faults.hung:
            hung_s = now - max(worker.hung_since, worker.process.woken_at)
            if worker.drawing_engine is not None:  # whose work explains a silence for so long
                hung_s -= PACE.step_s_max
            hold(
                not seen.takes_work or hung_s <= HANG_SEEN_S,
                f"{where} hangs for {hung_s:.2f} s and gets work",
            )
            elsewhere = serve_alone(each.hello.stage for each in known.values() if each.takes_work)
            hold(
                not (seen.bookings and elsewhere) or hung_s <= HANG_SEEN_S,
                f"{where} hangs for {hung_s:.2f} s and keeps its requests",
            )
        elif worker.departure.since is not None:
            drains_s = now - max(worker.departure.since, worker.process.woken_at)
            hold(
                not seen.takes_work or drains_s <= END_SEEN_S,
                f"{where} drains for {drains_s:.2f} s and gets work",
            )


def check_leaving(frontend: SimulatedFrontend, now: float) -> None:
    """Who is asked to leave is gone when the time for what is open is over."""
    if frontend.leaving_since is not None and not frontend.process.stopped:
        leaves_s = now - frontend.leaving_since - frontend.process.frozen_s
        hold(
            leaves_s <= frontend.spec.leaves_s_max + LOOK_SLACK_S,
            f"{frontend.name} has been leaving for {leaves_s:.2f} s",
        )


def check_links(
    worker: SimulatedWorker,
    links: Sequence[FrontendLink],
    gone_since: Mapping[str, float],
    now: float,
) -> None:
    """Nothing is dialled but for a link, and no silent address for long that DNS does not name."""
    if worker.departure.since is None:
        dialling = worker.dialling
        if dialling != len(links):
            raise Broken(f"{worker.worker_id} has {dialling} connections for {len(links)} links")
    if worker.process.stopped or not gone_since:
        return
    for link in links:
        gone_s = now - max(gone_since.get(link.address, now), worker.process.woken_at)
        hold(
            gone_s <= FORGOTTEN_S,
            f"{worker.worker_id} still dials {link.address}, gone for {gone_s:.2f} s",
        )


def check_worker(worker: SimulatedWorker, links: Sequence[FrontendLink], now: float) -> None:
    """What frontends have here is within credit and adds up, and who is asked to leave does."""
    if worker.departure.since is not None and not worker.process.stopped:
        _check_departure(worker, worker.departure, now)
    counted, running = len(worker.intake), 0
    for link in links:
        running += link.requests
        if not 0 <= link.requests <= worker.spec.credit_requests:
            raise Broken(f"{worker.worker_id}: requests per frontend {_per_link(links)}")
    if running != counted:
        raise Broken(f"{worker.worker_id}: {_per_link(links)} do not add up to {counted}")


def _per_link(links: Sequence[FrontendLink]) -> list[int]:
    return [link.requests for link in links]


def _check_departure(worker: SimulatedWorker, departure: NotedDeparture, now: float) -> None:
    assert departure.since is not None
    leaves_s = now - departure.since - worker.process.frozen_s
    limit_s = LOOK_SLACK_S + worker.spec.drain_s_max
    hold(leaves_s <= limit_s, f"{worker.worker_id} has been leaving for {leaves_s:.2f} s")
    hold(
        leaves_s <= LOOK_SLACK_S or worker.board.state.phase != "serving",
        f"{worker.worker_id} leaves and says that it serves",
    )
    if departure.urgent_since is not None:
        hurries_s = now - max(departure.urgent_since, worker.process.woken_at)
        hold(
            hurries_s <= LOOK_SLACK_S,
            f"{worker.worker_id} has been leaving in a hurry for {hurries_s:.2f} s",
        )


class Steadiness:
    """Where nobody dies, and nothing takes long, nobody may be taken for dead or begin anew.

    Args:
        losses: as the frontends of this world count them.
    """

    def __init__(self, losses: LossMetrics) -> None:
        self._died = losses.workers.labels("died")
        self._sessions: dict[tuple[int, int], int] = {}
        """Frontend, worker → their session."""

    def check(self, frontends: Sequence[SimulatedFrontend]) -> None:
        """No frontend misses a worker, and no session followed another."""
        hold(not self._died._value.get(), "a worker that left was taken for dead")
        for frontend in frontends:
            if frontend.process.dead:
                continue
            registry = frontend.mesh.registry
            if missed := [missed.worker_id for missed in registry.missed]:
                raise Broken(f"{frontend.name} misses {missed}")
            for worker in registry.workers.values():
                session = worker.numbering.session
                known = self._sessions.setdefault((frontend.number, worker.hello.epoch), session)
                if known != session:
                    raise Broken(f"{worker.worker_id} began anew with {frontend.name}")


class Unwanted:
    """Requests that workers run though their frontend does not know of them any more."""

    def __init__(self, plan: Plan) -> None:
        self._seconds_max = UNWANTED_LOSSY_S if plan.kind in LOSSY else UNWANTED_S
        self._since: dict[tuple[int, str], float] = {}

    def check(
        self,
        frontends: Sequence[SimulatedFrontend],
        workers: Sequence[SimulatedWorker],
        now: float,
    ) -> None:
        """None runs for long."""
        by_prefix = {each.prefix: each for each in frontends if not each.process.dead}
        before, self._since = self._since, {}
        for worker in workers:
            if not worker.up or worker.process.stopped:
                continue
            for request_id in worker.intake._owners:
                frontend = by_prefix.get(request_id[:2])
                if (
                    frontend is None
                    or frontend.process.stopped
                    or wanted(frontend, worker, request_id)
                    or request_id in worker.intake._aborted
                ):
                    continue
                key = worker.epoch, request_id
                since = max(
                    before.get(key, now), frontend.process.woken_at, worker.process.woken_at
                )
                self._since[key] = since
                if now - since > self._seconds_max:
                    raise Broken(
                        f"{worker.worker_id} has run {request_id} for {now - since:.2f} s for "
                        "nobody"
                    )
