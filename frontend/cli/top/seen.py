"""What has been seen of a frontend: its latest snapshot, its past, and whether it still answers."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from frontend.status.snapshot import Point, Snapshot

POINTS_MAX: Final = 600
"""Bounds the points that are kept, ten minutes: more than any terminal has columns."""


@dataclass
class Seen:
    """A Seen is what a picture is drawn of.

    Attributes:
        points: the past, the oldest first.
        problem: why nothing new is seen; empty while all is well.
        problem_since: when that began, in seconds of the clock that `tell_problem` is given.
    """

    snapshot: Snapshot | None = None
    points: deque[Point] = field(default_factory=lambda: deque[Point](maxlen=POINTS_MAX))
    problem: str = ""
    problem_since: float = 0.0

    def take(self, snapshot: Snapshot) -> None:
        """Takes the next snapshot; of its points those that are newer than what there is are added,
        so that the past outlives a frontend that is started anew.
        """
        self.snapshot = snapshot
        self.problem = ""
        latest = self.points[-1].at_unix_s if self.points else 0.0
        self.points.extend(point for point in snapshot.history if point.at_unix_s > latest)

    def tell_problem(self, why: str, now: float) -> None:
        """Takes note that nothing new is seen."""
        if not self.problem:
            self.problem_since = now
        self.problem = why
