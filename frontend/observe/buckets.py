"""Counts values by size, as Prometheus' histograms do, for less than its client takes: a request
has some ten values, and each observation of the client's takes 2 µs.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import exp, floor, log, log10
from typing import Final

BOUNDS_MAX: Final = 512
"""Bounds the buckets of one histogram, which every scrape shows for every model."""

_LAYOUTS_KEPT: Final = 64
"""Counts the layouts of histograms whose bounds are kept as text: a frontend has some twenty."""

_GAPS_PER_DECADE: Final = 20
_GAP_DECADES: Final = range(-4, 2)
_FINE_GAPS_S: Final = tuple(
    10 ** (decade + step / _GAPS_PER_DECADE)
    for decade in _GAP_DECADES
    for step in range(_GAPS_PER_DECADE)
)
"""Lists bounds of gaps between tokens from 0.1 ms to 90 s, each 12 % above the one before it."""


class Buckets:
    """A Buckets counts values that are at most each of its bounds, and above all of them.

    Attributes:
        bounds: rising.
        counts: values by the first bound that they do not exceed, and those above all bounds.
        total: the sum of the values.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Returns how many values were counted."""
        return sum(self.counts)

    def scaled(self, factor: float) -> "Buckets":
        """Returns the same counts in a unit of which `factor` make one of this."""
        other = Buckets([bound * factor for bound in self.bounds])
        other.counts, other.total = list(self.counts), self.total * factor
        return other

    def cumulated(self) -> list[tuple[str, float]]:
        """Returns each bound, as Prometheus writes it, with the values up to it."""
        return list(zip(_shown(tuple(self.bounds)), accumulate(self.counts), strict=True))


@lru_cache(maxsize=_LAYOUTS_KEPT)
def _shown(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*map(repr, map(float, bounds)), "+Inf")


class GapScale:
    """A GapScale says how the gaps between tokens are counted: by bounds fine enough for quantiles
    of one request, among which are those of the histogram of all.

    Attributes:
        bounds: in seconds, rising.
    """

    def __init__(self, histogram_bounds: Sequence[float]) -> None:
        self.bounds = tuple(sorted({*_FINE_GAPS_S, *histogram_bounds}))
        self._bucket_of = [bisect_left(histogram_bounds, bound) for bound in self.bounds]
        self._bucket_of.append(len(histogram_bounds))

    def count_into(self, buckets: Buckets, gaps: Mapping[int, int], total_s: float) -> None:
        """Counts gaps, which are told by the index of their bound, in the histogram of all."""
        counts, bucket_of = buckets.counts, self._bucket_of
        for index, count in gaps.items():
            counts[bucket_of[index]] += count
        buckets.total += total_s

    def quantiles_s(self, gaps: Mapping[int, int], *shares: float) -> list[float]:
        """Returns, for each of these rising shares, the bound that it of the gaps does not exceed;
        0 where there are none.
        """
        told, so_far, count = list[float](), 0, sum(gaps.values())
        for index in sorted(gaps):
            so_far += gaps[index]
            while len(told) < len(shares) and so_far >= shares[len(told)] * count:
                told.append(self.bounds[min(index, len(self.bounds) - 1)])
        return told or [0.0] * len(shares)


def quantile(bounds: Sequence[float], counts: Iterable[int], share: float) -> float | None:
    """Returns the value that this share of counted values does not exceed, as Prometheus'
    histogram_quantile finds it; None where nothing was counted.

    Args:
        counts: as those of a Buckets, or what was added to them.
    """
    numbers = list(counts)
    missing = share * sum(numbers)
    if not sum(numbers):
        return None
    low = 0.0
    for bound, count in zip(bounds, numbers, strict=False):
        if count and missing <= count:
            return low + (bound - low) * missing / count
        missing -= count
        low = bound
    return low


def spread(lowest: float, highest: float, count: int) -> tuple[float, ...]:
    """Returns 0 and, up to `highest`, bounds at equal ratios, rounded to two digits: the reference
    product's way to lay out a histogram.
    """
    if count < 2:
        return (0.0,)
    ratio = log(highest / lowest) / (count - 1)
    bounds = [0.0, *(_two_digits(lowest * exp(ratio * step)) for step in range(1, count))]
    return tuple(dict.fromkeys(bounds))


def _two_digits(value: float) -> float:
    scale = 10.0 ** (1 - floor(log10(value)))
    return floor(value * scale + 0.5) / scale
