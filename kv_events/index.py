"""Which blocks each rank holds, and how much of a prompt that makes. Pure and synchronous.

One dict a rank: block hash → bits of where it lies. A hash names a whole prefix and a radix cache never holds a block without those
before it, so the held part of a prompt is found by halving; and since what many ranks hold of a prompt is mostly the same (a
system prompt), each rank is first asked for exactly as much as the rank before it held. Chosen by bench/kv_index.py against tables
of rank bitmasks (faster to ask, slower to drop, pauses of 0.05 to 0.25 s when one big dict grows) and a tree of nodes (five times
the memory).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from protocol.kv_stream import DISK, GPU, HOST, MEDIA, Medium

_PREDICTED: Final = 1 << len(MEDIA)
"""Routed there a moment ago: the engine is computing it, or is about to."""

_NEAR: Final = 1 << GPU | _PREDICTED
_ON_HOST: Final = _NEAR | 1 << HOST
_ANYWHERE: Final = _ON_HOST | 1 << DISK


class Overlap(NamedTuple):
    """Leading blocks of a prompt that a rank holds: first those in GPU memory, behind them those in slower media."""

    gpu: int
    host: int = 0
    disk: int = 0


NO_OVERLAP: Final = Overlap(0)


class IndexOverfull(Exception):
    """A rank told of more blocks than it can have, or the index has no room: nothing is kept of the rank."""


class BlockBudget:
    """The hard bound on all ranks of a process together; an entry takes about 110 bytes."""

    def __init__(self, blocks_max: int) -> None:
        self.blocks_max = blocks_max
        self.blocks = 0


class RankBlocks:
    """What one rank holds, as far as is known.

    Args:
        blocks_max: what the rank can hold by what it advertised, over all media.
    Attributes:
        places: block → bits of the media that hold it. To be read by `overlaps` alone.
        slow_media: whether some blocks may lie outside GPU memory.
    """

    __slots__ = ("_budget", "_predicted", "blocks_max", "places", "slow_media")

    def __init__(self, budget: BlockBudget, blocks_max: int) -> None:
        self.blocks_max = blocks_max
        self._budget = budget
        self.places: dict[int, int] = {}
        self._predicted: OrderedDict[int, float] = OrderedDict()
        """Predicted blocks → when they cease to count; oldest first, and the last of a prompt before its first."""
        self.slow_media = False

    def __len__(self) -> int:
        return len(self.places)

    def store(self, medium: Medium, hashes: Sequence[int]) -> None:
        """The rank holds these blocks in `medium`.

        Raises:
            IndexOverfull: now they are more than it can hold, or all ranks' are too many; the rank is empty then.
        """
        places, bit, before = self.places, 1 << medium, len(self.places)
        if medium != GPU:
            self.slow_media = True
        predicted = self._predicted if medium == GPU else None
        for block in hashes:
            if predicted and predicted.pop(block, None) is not None:
                places[block] &= ~_PREDICTED
            places[block] = places.get(block, 0) | bit
        self._count(before)

    def remove(self, medium: Medium, hashes: Sequence[int]) -> None:
        """The rank no longer holds these blocks in `medium`; blocks it never held are ignored."""
        places, keep, before = self.places, ~(1 << medium), len(self.places)
        for block in hashes:
            held = places.get(block)
            if held is None:
                continue
            if held & keep:
                places[block] = held & keep
            else:
                del places[block]
        self._budget.blocks += len(places) - before

    def replace(self, hashes: Sequence[Sequence[int]]) -> None:
        """Hold exactly these blocks, by medium. Predictions stay.

        Raises:
            IndexOverfull: as `store`.
        """
        predicted, self._predicted = self._predicted, OrderedDict()
        self.clear()
        for medium, blocks in zip(MEDIA, hashes, strict=False):
            if blocks:
                self.store(medium, blocks)
        for block, until in predicted.items():
            if block not in self.places:
                self._predict(block, until)
        self._count(len(self.places) - len(self._predicted))

    def clear(self) -> None:
        """Hold nothing."""
        self._budget.blocks -= len(self.places)
        # New dicts, since the old ones would keep the memory of their largest size.
        self.places, self._predicted, self.slow_media = {}, OrderedDict(), False

    def predict(self, hashes: Sequence[int], until: float) -> None:
        """Count these blocks, the rest of a prompt from some block on, as held in GPU memory until an event tells or time passes.

        The oldest predictions go first when there are more than the rank can hold, or no room is left in the budget. What events told
        is never given up for a prediction.
        """
        budget, before = self._budget, len(self.places)
        for block in reversed(hashes):
            self._predict(block, until)
        budget.blocks += len(self.places) - before
        while self._predicted and (len(self._predicted) > self.blocks_max or budget.blocks > budget.blocks_max):
            before = len(self.places)
            self._forget(self._predicted.popitem(last=False)[0])
            budget.blocks += len(self.places) - before

    def forget_predictions(self) -> None:
        """Hold what events told and nothing else."""
        before = len(self.places)
        for block in self._predicted:
            self._forget(block)
        self._predicted.clear()
        self._budget.blocks += len(self.places) - before

    def expire(self, now: float) -> None:
        """Drop the predictions whose time has passed."""
        before = len(self.places)
        while self._predicted:
            block, until = next(iter(self._predicted.items()))
            if until > now:
                break
            del self._predicted[block]
            self._forget(block)
        self._budget.blocks += len(self.places) - before

    def tiers(self, hashes: Sequence[int], held: int) -> Overlap:
        """The tiers of the leading `held` blocks of a prompt, all of which the rank holds somewhere."""
        leading = hashes[:held]
        near = self.run(leading, _NEAR)
        host = self.run(leading, _ON_HOST)
        return Overlap(near, host - near, held - host)

    def run(self, hashes: Sequence[int], where: int = _ANYWHERE) -> int:
        """Length of the leading run held in `where`."""
        held, low, high = self.places.get, 0, len(hashes)
        while low < high:  # held: all before `low`; not held: what lies at `high` and behind
            middle = (low + high) >> 1
            if held(hashes[middle], 0) & where:
                low = middle + 1
            else:
                high = middle
        return low

    def _predict(self, block: int, until: float) -> None:
        places = self.places.get(block, 0)
        if not places & 1 << GPU:
            self.places[block] = places | _PREDICTED
            self._predicted[block] = until
            self._predicted.move_to_end(block)

    def _forget(self, block: int) -> None:
        places = self.places[block] & ~_PREDICTED
        if places:
            self.places[block] = places
        else:
            del self.places[block]

    def _count(self, before: int) -> None:
        budget = self._budget
        budget.blocks += len(self.places) - before
        if len(self.places) > self.blocks_max + len(self._predicted) or budget.blocks > budget.blocks_max:
            self.clear()
            raise IndexOverfull


def overlaps(ranks: Sequence[RankBlocks], hashes: Sequence[int]) -> list[Overlap]:
    """How much of a prompt, by its blocks' hashes, each rank holds from the first block on.

    Cost: 0.1 to 0.4 µs a rank; 4 µs for one that holds a length of its own (bench/kv_index.py).
    """
    if not hashes:
        return [NO_OVERLAP] * len(ranks)
    first, ends = hashes[0], [*hashes, None]
    length, last, behind, shared = 1, first, ends[1], Overlap(1)
    found: list[Overlap] = []
    for rank in ranks:  # written out, since a call a rank would cost as much as the question
        places = rank.places
        if last not in places or behind in places:
            if first not in places:
                found.append(NO_OVERLAP)
                continue
            length = rank.run(hashes)
            last, behind, shared = ends[length - 1], ends[length], Overlap(length)
        found.append(rank.tiers(hashes, length) if rank.slow_media else shared)
    return found
