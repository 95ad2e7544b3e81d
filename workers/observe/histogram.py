"""Values are counted by their size."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


class Histogram:
    """A Histogram counts values in buckets. One thread notes them, and others read at any time.

    Args:
        bounds: what a bucket's values are at most, in ascending order; the last bucket has none.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.sum = 0.0
        self._counts = [0] * (len(self.bounds) + 1)

    def note(self, value: float) -> None:
        """Counts one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[int]:
        """Returns how many values were at most each bound, and how many there were at last."""
        return list(accumulate(self._counts))
