"""Workers that share GPUs start one after the other."""

import asyncio
from collections import defaultdict


class Turns:
    """Turns let one worker of a place start at a time; those of other places do not wait for it."""

    def __init__(self) -> None:
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: dict[str, asyncio.Lock] = {}
        """Worker → the lock of its place, from its start until it serves or has ended."""

    async def begin(self, name: str, place: int | None) -> None:
        """Wait until it is a worker's turn; at once where it has no place."""
        if place is not None:
            lock = self._locks[place]
            await lock.acquire()
            self._held[name] = lock

    def end(self, name: str) -> None:
        """It serves, or has ended: the next one may start."""
        lock = self._held.pop(name, None)
        if lock is not None:
            lock.release()
