"""What every candidate for the router's prefix index offers."""

from collections.abc import Sequence
from typing import Final, Protocol

from protocol.kv_stream import Medium

MEDIUMS: Final[tuple[Medium, ...]] = (0, 1, 2)
MEDIA: Final = len(MEDIUMS)
GPU: Final = 0

Runs = tuple[list[int], list[int]]
"""By rank: leading blocks in GPU memory, and leading blocks in any medium.

May be one list twice.
"""


class Index(Protocol):
    """`parent` is the block before the first, which only a tree needs."""

    def store(
        self, rank: int, medium: Medium, hashes: Sequence[int], parent: int | None, /
    ) -> None: ...
    def remove(self, rank: int, medium: Medium, hashes: Sequence[int]) -> None: ...
    def drop(self, rank: int) -> None:
        """Hold nothing of the rank: it is gone, or has cleared its cache."""
        ...

    def overlaps(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> Runs: ...
