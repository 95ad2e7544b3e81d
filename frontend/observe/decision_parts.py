"""What a choice of a rank consists of is measured at one choice in so many."""

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

from frontend.observe.buckets import Buckets

EVERY: Final = 128
"""One choice in so many is taken apart, which costs it once more what it took, and all of them a
percent."""

_PARTS_S: Final = (1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3)


class DecisionParts:
    """A DecisionParts counts the seconds that parts of some choices took.

    Attributes:
        hashing: of the prompt's blocks.
        finding: of what ranks hold of them.
        choosing: the rest.
    """

    def __init__(self) -> None:
        self.hashing = Buckets(_PARTS_S)
        self.finding = Buckets(_PARTS_S)
        self.choosing = Buckets(_PARTS_S)

    def note(
        self, whole_s: float, *, do_hash: Callable[[], object], do_find: Callable[[], object]
    ) -> None:
        """Counts one choice that was made.

        Args:
            whole_s: that it took.
            do_hash, do_find: do once more what it did of these.
        """
        begun_s = perf_counter()
        do_hash()
        hashed_s = perf_counter()
        do_find()
        found_s = perf_counter()
        self.hashing.add(hashed_s - begun_s)
        self.finding.add(found_s - hashed_s)
        self.choosing.add(max(0.0, whole_s - (found_s - begun_s)))

    def named(self) -> Iterator[tuple[str, str, Buckets]]:
        """Yields each part with the reference product's name and in words."""
        yield "block_hashing", "to hash the prompt's blocks", self.hashing
        yield "indexer_find_matches", "to find what ranks hold of them", self.finding
        yield "scheduling", "to choose by that", self.choosing
