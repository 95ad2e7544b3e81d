"""What must hold of requests in two legs: both are booked and both are given back, no leg waits
longer than it may, and at rest nothing of any is left.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from frontend.fleet.model_entry import DECODE, PREFILL, WHOLE
from tests.simulation.broken import Broken, hold
from tests.simulation.frontend import SimulatedFrontend
from tests.simulation.worker import SimulatedWorker
from workers.sim.handover.decode import DecodeLegs
from workers.sim.handover.messages import WAIT_S_MAX
from workers.sim.handover.prefill import ROOMS_MAX, PrefillLegs

WAIT_SLACK_S: Final = 0.2
"""Until the next look."""


def serve_alone(stages: Iterable[str]) -> bool:
    """Whether workers of these stages run requests without any other."""
    found = set(stages)
    return WHOLE in found or {PREFILL, DECODE} <= found


def check_bookings(frontend: SimulatedFrontend) -> None:
    """A request is booked on the worker that generates its answer, and on the one that computes its
    prompt while that does.
    """
    mesh, booked = frontend.mesh, 0
    for worker in mesh.registry.workers.values():
        owners = mesh._prefilling if worker.hello.stage == PREFILL else mesh._placed
        for request_id in worker.bookings:
            if owners.get(request_id) is not worker:
                raise Broken(
                    f"{frontend.name} has booked {request_id} on {worker.worker_id} for no leg"
                )
        booked += len(worker.bookings)
    legs = len(mesh._placed) + len(mesh._prefilling)
    if booked != legs:
        raise Broken(f"{frontend.name} has {legs} legs and booked {booked}")
    if not mesh._prefilling.keys() <= mesh._placed.keys():
        raise Broken(f"{frontend.name} has prompts computed for nobody: {list(mesh._prefilling)}")


def wanted(frontend: SimulatedFrontend, worker: SimulatedWorker, request_id: str) -> bool:
    """Whether a frontend waits for what a worker does of a request."""
    mesh = frontend.mesh
    return request_id in (mesh._prefilling if worker.stage == "prefill" else mesh._placed)


class LegWaits:
    """How long engines keep legs."""

    def __init__(self) -> None:
        self._since: dict[tuple[int, str], float] = {}

    def check(self, workers: Sequence[SimulatedWorker], now: float) -> None:
        """None waits for the other longer than it may, nor is forgotten in a table."""
        before, self._since = self._since, {}
        for worker in workers:
            if not worker.up or worker.process.stopped or worker.legs is None:
                continue
            for what, request_id in _waiting(worker):
                key = worker.epoch, f"{what} {request_id}"
                since = self._since[key] = max(before.get(key, now), worker.process.woken_at)
                hold(
                    now - since <= WAIT_S_MAX + WAIT_SLACK_S,
                    f"{worker.worker_id} has {what} {request_id} for {now - since:.1f} s",
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
