"""A table a rank. Dropping a rank is dropping its table; a prompt is looked up in each one."""

from collections.abc import Sequence

from bench.kv.indexes.interface import GPU, MEDIA, Runs


class Dicts:
    """B: one dict a rank: hash → bits of the media where it lies.

    Ranks are looked up one by one.
    """

    def __init__(self, ranks: int) -> None:
        self._places: list[dict[int, int]] = [{} for _ in range(ranks)]
        self._slow = [False] * ranks

    def store(self, rank: int, medium: int, hashes: Sequence[int], _parent: int | None) -> None:
        places, bit = self._places[rank], 1 << medium
        if medium != GPU:
            self._slow[rank] = True
        for block in hashes:
            places[block] = places.get(block, 0) | bit

    def remove(self, rank: int, medium: int, hashes: Sequence[int]) -> None:
        places, keep = self._places[rank], ~(1 << medium)
        for block in hashes:
            media = places.get(block, 0) & keep
            if media:
                places[block] = media
            else:
                places.pop(block, None)

    def drop(self, rank: int) -> None:
        self._places[rank], self._slow[rank] = {}, False

    def overlaps(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> Runs:
        gpu = [
            self._run(self._places[rank], hashes, 1 << GPU)
            if hashes[0] in self._places[rank]
            else 0
            for rank in ranks
        ]
        if not any(self._slow):
            return gpu, gpu
        any_medium = (1 << MEDIA) - 1
        return gpu, [
            self._run(self._places[rank], hashes, any_medium, run) if self._slow[rank] else run
            for rank, run in zip(ranks, gpu, strict=True)
        ]

    @staticmethod
    def _run(places: dict[int, int], hashes: Sequence[int], where: int, low: int = 0) -> int:
        held, high = places.get, len(hashes)
        if low < high and held(hashes[-1], 0) & where:
            return high
        high -= 1
        while low < high:
            middle = (low + high) >> 1
            if held(hashes[middle], 0) & where:
                low = middle + 1
            else:
                high = middle
        return low


class Sets:
    """B2: a set a rank and medium, so that an event is one call into C.

    Ranks are tried as in kv_events.index.
    """

    def __init__(self, ranks: int) -> None:
        self._held: tuple[list[set[int]], ...] = tuple(
            [set() for _ in range(ranks)] for _ in range(MEDIA)
        )

    def store(self, rank: int, medium: int, hashes: Sequence[int], _parent: int | None) -> None:
        self._held[medium][rank].update(hashes)

    def remove(self, rank: int, medium: int, hashes: Sequence[int]) -> None:
        self._held[medium][rank].difference_update(hashes)

    def drop(self, rank: int) -> None:
        for held in self._held:
            held[rank] = set()

    def overlaps(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> Runs:
        gpu, host, disk = self._held
        near: list[int] = []
        first, blocks = hashes[0], [*hashes, None]
        guess, inside, beyond = 1, first, blocks[1]
        for rank in ranks:
            held = gpu[rank]
            if inside in held and beyond not in held:
                near.append(guess)
            elif first in held:
                guess = _run((held,), hashes, 1)
                inside, beyond = blocks[guess - 1], blocks[guess]
                near.append(guess)
            else:
                near.append(0)
        if not (any(host) or any(disk)):
            return near, near
        return near, [
            _run((gpu[rank], host[rank], disk[rank]), hashes, run)
            if host[rank] or disk[rank]
            else run
            for rank, run in zip(ranks, near, strict=True)
        ]


def _run(tiers: tuple[set[int], ...], hashes: Sequence[int], low: int) -> int:
    """Length of the leading run that lies in any of the sets, of which the first `low` blocks are
    known.
    """
    high = len(hashes)
    while low < high:
        middle = (low + high) >> 1
        if any(hashes[middle] in held for held in tiers):
            low = middle + 1
        else:
            high = middle
    return low
