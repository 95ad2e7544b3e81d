"""Remembers, for people, the workers that left lately and why."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from frontend.fleet.worker import Phase, Worker
from protocol.losses import LossCause

DEPARTED_MAX: Final = 32
"""Bounds the departures remembered: a screenful; the log has all."""

DEPARTED_S_MAX: Final = 300.0
"""Is how long a departure is news."""


@dataclass(frozen=True, slots=True)
class Departed:
    """A Departed is a worker that is gone.

    Attributes:
        planned: it said that it would leave.
    """

    worker_id: str
    model: str
    cause: LossCause
    reason: str
    planned: bool
    at: float


class DepartedWorkers:
    """DepartedWorkers remembers who left, by the loop's clock."""

    def __init__(self) -> None:
        self._departed: deque[Departed] = deque(maxlen=DEPARTED_MAX)

    def note(self, worker: Worker, cause: LossCause, reason: str, now: float) -> None:
        """Notes that a worker is one no longer."""
        planned = cause == "stopped" or worker.phase is Phase.DRAINING
        self._departed.append(
            Departed(worker.worker_id, worker.hello.card.name, cause, reason, planned, now)
        )

    def lately(self, now: float) -> list[Departed]:
        """Returns who left within the last minutes, the latest first."""
        return [each for each in reversed(self._departed) if now - each.at <= DEPARTED_S_MAX]
