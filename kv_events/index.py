"""Keeps which blocks each rank holds, and tells how much of a prompt that makes.

Pure and synchronous.

One dict a rank: block hash → bits of where it lies. A hash names a whole prefix, and of GPU memory
an engine promises that no block is there without those before it: its radix cache gives up leaves
first. So the part of a prompt held there is found by halving; and since what many ranks hold of a
prompt is mostly the same (a system prompt), each rank is first asked for exactly as much as the
rank before it held. Nothing else is promised: predictions stay when an event takes a block before
them, and a slower medium may keep a block from the middle. What lies behind the part in GPU memory
is therefore walked block by block up to the first hole.

Chosen by bench/kv/index.py against tables of rank bitmasks (faster to ask, slower to drop, pauses
of 0.05 to 0.25 s when one big dict grows) and a tree of nodes (five times the memory).
"""

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from kv_events.predictions import MEDIA_BITS, NUMBER_SHIFT, PREDICTED, Predictions
from protocol.kv_stream import DISK, GPU, HOST, MEDIA, Medium

_IN_GPU: Final = 1 << GPU
_NEAR: Final = _IN_GPU | PREDICTED
_ON_HOST: Final = _NEAR | 1 << HOST
_ANYWHERE: Final = _ON_HOST | 1 << DISK


class Overlap(NamedTuple):
    """An Overlap counts the leading blocks of a prompt that a rank holds: first those in GPU
    memory, behind them those in slower media.
    """

    gpu: int
    host: int = 0
    disk: int = 0


NO_OVERLAP: Final = Overlap(0)


class IndexOverfull(Exception):
    """An IndexOverfull says that a rank told of more blocks than it can have, or that the index has
    no room: nothing is kept of the rank.
    """


class BlockBudget:
    """A BlockBudget is the hard bound on the blocks of all ranks of a process together; an entry
    takes about 110 bytes.
    """

    def __init__(self, blocks_max: int) -> None:
        self.blocks_max = blocks_max
        self.blocks = 0


class RankBlocks:
    """RankBlocks keeps which blocks one rank holds, as far as is known.

    Args:
        blocks_max: what the rank can hold by what it advertised, over all media.
    Attributes:
        places: block → bits of the media that hold it, and what `Predictions` put behind them. To
        be read by `overlaps` alone.
        closed: bits that no block has unless all blocks before it have one of them: those of GPU
        memory and of predictions, or GPU memory alone where predictions may lie behind a hole.
    """

    __slots__ = ("_budget", "_predicted", "blocks_max", "closed", "places")

    def __init__(self, budget: BlockBudget, blocks_max: int) -> None:
        self.blocks_max = blocks_max
        self._budget = budget
        self.places: dict[int, int] = {}
        self._predicted = Predictions()
        """Has no block that is in GPU memory."""
        self.closed = _NEAR

    def __len__(self) -> int:
        return len(self.places)

    def store(self, medium: Medium, hashes: Sequence[int]) -> None:
        """Notes that the rank holds these blocks in `medium`; in GPU memory, also those before them
        once the batch is applied.

        Raises:
            IndexOverfull: now they are more than it can hold, or all ranks' are too many; the rank
            is empty then.
        """
        places, bit, before = self.places, 1 << medium, len(self.places)
        if medium == GPU and self._predicted.count:
            self._store_predicted(hashes)
        else:
            for block in hashes:
                places[block] = places.get(block, 0) | bit
        self._count(before)

    def _store_predicted(self, hashes: Sequence[int]) -> None:
        """Stores blocks in GPU memory, of which those that were predicted are so no longer."""
        places, told = self.places, dict.fromkeys(hashes, _IN_GPU)
        held = list(map(places.get, told))
        first = held[0] if held else None
        if first and not first & MEDIA_BITS and held.count(first) == len(held):
            # all of one prediction, as nearly always, and nowhere else
            places.update(told)
            self._predicted.ended(first >> NUMBER_SHIFT, len(held))
            return
        ended: Counter[int] = Counter()
        for block, before in zip(told, held, strict=True):
            if before and before & PREDICTED:
                ended[before >> NUMBER_SHIFT] += 1
            places[block] = ((before or 0) & MEDIA_BITS) | _IN_GPU
        for number, count in ended.items():
            self._predicted.ended(number, count)

    def remove(self, medium: Medium, hashes: Sequence[int]) -> None:
        """Notes that the rank no longer holds these blocks in `medium`; blocks it never held are
        ignored.

        In GPU memory it holds none behind them either, once the batch is applied.
        """
        places, keep, before = self.places, ~(1 << medium), len(self.places)
        for block in hashes:
            held = places.get(block)
            if held is None:
                continue
            if held & keep:
                places[block] = held & keep
            else:
                del places[block]
        if medium == GPU and self._predicted.count:
            self.closed = _IN_GPU
        self._budget.blocks += len(places) - before

    def replace(self, hashes: Sequence[Sequence[int]]) -> None:
        """Notes that the rank holds exactly these blocks, by medium; predictions stay.

        Raises:
            IndexOverfull: as `store`.
        """
        predicted = self._predicted.all(self.places)
        self.clear()
        for medium, blocks in zip(MEDIA, hashes, strict=False):
            if blocks:
                self.store(medium, blocks)
        before, places = len(self.places), self.places
        for prompt, until in predicted:
            missing = [block for block in prompt if not places.get(block, 0) & _IN_GPU]
            self._predicted.add(places, missing, until)
        if self._predicted.count:
            self.closed = _IN_GPU
        self._count(before)

    def clear(self) -> None:
        """Forgets all blocks, predictions included."""
        self._budget.blocks -= len(self.places)
        # New dicts, since the old ones would keep the memory of their largest size.
        self.places, self._predicted, self.closed = {}, Predictions(), _NEAR

    def predict(self, hashes: Sequence[int], until: float) -> None:
        """Counts the blocks of a prompt, all from its first one on, as held in GPU memory until an
        event tells or time passes.

        Those predicted before are renewed, so that a prefix lives as long as the prompts that go on
        from it. The oldest predictions go first when there are more than the rank can hold, or no
        room is left in the budget. What events told is never given up for a prediction.
        """
        budget, predicted, before = self._budget, self._predicted, len(self.places)
        if not predicted.count:
            self.closed = _NEAR
        predicted.add(self.places, hashes, until)
        budget.blocks += len(self.places) - before
        while predicted.count and (
            predicted.count > self.blocks_max or budget.blocks > budget.blocks_max
        ):
            before = len(self.places)
            predicted.forget_oldest(self.places)
            budget.blocks += len(self.places) - before

    def forget_predictions(self) -> None:
        """Forgets all but what events told."""
        self.expire(inf)

    def expire(self, now: float) -> None:
        """Drops the predictions whose time has passed."""
        before = len(self.places)
        self._predicted.expire(self.places, now)
        self._budget.blocks += len(self.places) - before

    def overlap(self, hashes: Sequence[int]) -> Overlap:
        """Returns how much of a prompt, given its blocks' hashes, the rank holds."""
        held, closed, end, high = self.places.get, self.closed, 0, len(hashes)
        while end < high:  # held: all before `end`; not held there: what lies at `high` and behind
            middle = (end + high) >> 1
            if held(hashes[middle], 0) & closed:
                end = middle + 1
            else:
                high = middle
        if end == len(hashes) or hashes[end] not in self.places:
            return Overlap(end)
        ends: list[int] = []
        for where in (_NEAR, _ON_HOST, _ANYWHERE):
            while end < len(hashes) and held(hashes[end], 0) & where:
                end += 1
            ends.append(end)
        near, host, disk = ends
        return Overlap(near, host - near, disk - host)

    def _count(self, before: int) -> None:
        budget = self._budget
        budget.blocks += len(self.places) - before
        if (
            len(self.places) > self.blocks_max + self._predicted.count
            or budget.blocks > budget.blocks_max
        ):
            self.clear()
            raise IndexOverfull


def overlaps(ranks: Sequence[RankBlocks], hashes: Sequence[int]) -> list[Overlap]:
    """Returns how much of a prompt, by its blocks' hashes, each rank holds from the first block on.

    Cost: 0.1 to 0.4 µs a rank; 4 µs for one that holds a length of its own (bench/kv/index.py), and
    0.1 µs a block that is walked.
    """
    if not hashes:
        return [NO_OVERLAP] * len(ranks)
    first, ends = hashes[0], [*hashes, None]
    last, behind, shared = first, ends[1], Overlap(1)
    found: list[Overlap] = []
    for rank in ranks:  # written out, since a call a rank would cost as much as the question
        places = rank.places
        if last in places and places[last] & rank.closed and behind not in places:
            found.append(shared)
        elif first in places:
            overlap = rank.overlap(hashes)
            found.append(overlap)
            if near := overlap.gpu:
                last, behind, shared = ends[near - 1], ends[near], Overlap(near)
        else:
            found.append(NO_OVERLAP)
    return found
