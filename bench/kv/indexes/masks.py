"""One table for all ranks: hash → bits of the ranks that hold it.

One look tells of every rank, whatever their number.

A hash names a whole prefix, and a rank's cache never holds a block without those before it, so what
a rank holds of a prompt is a leading run: where two blocks have the same holders, so have all
between them.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from bench.kv.indexes.interface import MEDIA, Runs


class Masks:
    """A: one table a medium for all ranks: hash → bits of the ranks that hold it.

    A set a rank finds its entries again for `drop`.

    Most blocks have one holder, and those masks are shared objects.
    """

    def __init__(self, ranks: int) -> None:
        self._tables: tuple[dict[int, int], ...] = tuple({} for _ in range(MEDIA))
        self._bits = [1 << rank for rank in range(ranks)]
        self._held: list[list[set[int]]] = [[set() for _ in range(MEDIA)] for _ in range(ranks)]

    def store(self, rank: int, medium: int, hashes: Sequence[int], _parent: int | None) -> None:
        table, bit, held = self._tables[medium], self._bits[rank], self._held[rank][medium]
        for block in hashes:
            mask = table.get(block)
            table[block] = bit if mask is None else mask | bit
            held.add(block)

    def remove(self, rank: int, medium: int, hashes: Iterable[int]) -> None:
        table, bit, held = self._tables[medium], self._bits[rank], self._held[rank][medium]
        for block in hashes:
            if block in held:
                held.remove(block)
                mask = table[block] ^ bit
                if mask:
                    table[block] = mask
                else:
                    del table[block]

    def drop(self, rank: int) -> None:
        for medium, held in enumerate(self._held[rank]):
            self.remove(rank, medium, list(held))
            self._held[rank][medium] = set()

    def overlaps(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> Runs:
        gpu, host, disk = self._tables
        runs = _mask_runs(lambda block: gpu.get(block, 0), hashes, ranks)
        if not (host or disk):
            return runs, runs
        return runs, _mask_runs(
            lambda block: gpu.get(block, 0) | host.get(block, 0) | disk.get(block, 0), hashes, ranks
        )


class SweptMasks(Masks):
    """A2: no sets; `drop` gives the rank a new bit, and `sweep` clears the old one from the tables,
    all at once here.

    A dict cannot be walked piecemeal while it changes, so a sweep in steps would need a copy of its
    keys. An event that removes what the rank does not hold costs a look at the mask.
    """

    def __init__(self, ranks: int) -> None:
        super().__init__(ranks)
        self._held = []
        self._slots = list(range(ranks))
        self._dead = 0

    def store(self, rank: int, medium: int, hashes: Sequence[int], parent: int | None) -> None:  # noqa: ARG002
        table, bit = self._tables[medium], self._bits[rank]
        for block in hashes:
            mask = table.get(block)
            table[block] = bit if mask is None else mask | bit

    def remove(self, rank: int, medium: int, hashes: Iterable[int]) -> None:
        table, bit = self._tables[medium], self._bits[rank]
        for block in hashes:
            mask = table.get(block, 0)
            if mask == bit:
                del table[block]
            elif mask & bit:
                table[block] = mask ^ bit

    def drop(self, rank: int) -> None:
        self._dead |= self._bits[rank]
        self._slots[rank] = max(self._slots) + 1
        self._bits[rank] = 1 << self._slots[rank]

    def sweep(self) -> None:
        """After it, a router may use the dead slots again."""
        keep = ~self._dead
        for table in self._tables:
            for block, mask in [
                (block, mask & keep) for block, mask in table.items() if mask & self._dead
            ]:
                if mask:
                    table[block] = mask
                else:
                    del table[block]
        self._dead = 0

    def overlaps(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> Runs:
        slots = tuple(self._slots[rank] for rank in ranks)
        return super().overlaps(hashes, slots)


def _mask_runs(
    holders: Callable[[int], int], hashes: Sequence[int], slots: tuple[int, ...]
) -> list[int]:
    """Leading run of each slot: halves the prompt, with all ranks whose runs end in the same part
    looked up at once.
    """
    runs = dict.fromkeys(slots, 0)
    present = holders(hashes[0]) & _mask_of(slots)
    last = holders(hashes[-1]) & present
    pending = [(len(hashes), len(hashes), last), (1, len(hashes) - 1, present ^ last)]
    while pending:
        low, high, mask = pending.pop()
        if low == high:
            for slot in _slots_of(mask):
                runs[slot] = low
        elif mask:
            middle = (low + high) >> 1
            have = holders(hashes[middle]) & mask
            pending.append((middle + 1, high, have))
            pending.append((low, middle, mask ^ have))
    return list(runs.values())


@lru_cache(maxsize=256)
def _mask_of(slots: tuple[int, ...]) -> int:
    return sum(1 << slot for slot in slots)


@lru_cache(maxsize=4096)
def _slots_of(mask: int) -> tuple[int, ...]:
    return tuple(slot for slot in range(mask.bit_length()) if mask >> slot & 1)
