"""Frontend processes of one port see in shared memory how many connections each of them has."""

import mmap
import os
from typing import Final

from protocol.process.start_error import StartError

ABSENT: Final = -1
"""Stands for the connections of a process that takes none: it starts, ends or is no more."""

ALL_THAT_WAIT: Final = 128
"""Bounds what one turn takes where there is nobody to leave it to: some ten milliseconds of it."""

_WORDS: Final = 3
_WORD_BYTES: Final = 8
_CONNECTIONS, _MODELS, _TAKEN = range(_WORDS)


class Standing:
    """A Standing is memory of three numbers for each process: its open connections, the models that
    it can serve, and the connections that it ever took. Each process writes its own, and the parent
    for those that have ended.

    A number is written and read at once by the processor, so nobody waits for anybody.

    Args:
        descriptor: of the memory, which `made` gives.
    """

    def __init__(self, descriptor: int, count: int) -> None:
        self.count = count
        self._memory = mmap.mmap(descriptor, count * _WORDS * _WORD_BYTES)
        self._numbers = memoryview(self._memory).cast("q")

    @staticmethod
    def made(count: int) -> int:
        """Returns a descriptor of new memory in which all processes are absent.

        Raises:
            StartError: the system has no such memory.
        """
        if not hasattr(os, "memfd_create"):
            raise StartError("--frontend-processes above 1 needs Linux")
        descriptor = os.memfd_create("kvmesh-standing")
        os.ftruncate(descriptor, count * _WORDS * _WORD_BYTES)
        standing = Standing(descriptor, count)
        for number in range(count):
            standing.leave(number)
        standing.close()
        return descriptor

    def take_part(self, number: int, connections: int, models: int) -> None:
        """Notes how a process stands."""
        self._numbers[number * _WORDS + _MODELS] = models
        self._numbers[number * _WORDS + _CONNECTIONS] = connections

    def note_connections(self, number: int, connections: int) -> None:
        """Notes how many connections a process has."""
        self._numbers[number * _WORDS + _CONNECTIONS] = connections

    def note_taken(self, number: int, connections: int) -> None:
        """Notes how many connections a process has, since it has just taken one."""
        self._numbers[number * _WORDS + _CONNECTIONS] = connections
        self._numbers[number * _WORDS + _TAKEN] += 1

    def leave(self, number: int) -> None:
        """Notes that a process takes no connections."""
        self._numbers[number * _WORDS + _MODELS] = 0
        self._numbers[number * _WORDS + _CONNECTIONS] = ABSENT

    def taken_by_others(self, number: int) -> int:
        """Returns how many connections the others ever took."""
        return sum(
            self._numbers[other * _WORDS + _TAKEN] for other in range(self.count) if other != number
        )

    def share(self, number: int, waiting: int) -> int | None:
        """Returns how many of those that wait a process should take, so that all have as many in
        the end as is possible; None where others can serve models that it cannot.
        """
        mine = self._numbers[number * _WORDS + _CONNECTIONS]
        models = self._numbers[number * _WORDS + _MODELS]
        others: list[int] = []
        for other in range(self.count):
            connections = self._numbers[other * _WORDS + _CONNECTIONS]
            if other == number or connections == ABSENT:
                continue
            others_models = self._numbers[other * _WORDS + _MODELS]
            if others_models > models:
                return None
            if others_models == models:
                others.append(connections)
        return max(0, level([mine, *others], waiting) - mine) if others else ALL_THAT_WAIT

    def close(self) -> None:
        """Lets go of the memory."""
        self._numbers.release()
        self._memory.close()


def level(heights: list[int], more: int) -> int:
    """Returns how high the lowest come when so much more is laid on them, rounded up."""
    heights = sorted(heights)
    below = 0
    for count, height in enumerate(heights, 1):
        below += height
        reached = -(-(below + more) // count)
        if count == len(heights) or reached <= heights[count]:
            return reached
    raise ValueError("nothing to lay it on")
