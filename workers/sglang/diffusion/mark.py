"""A few numbers in memory that a worker and the ranks of its generator share: which order is to be
left, and what rank 0 did about it.
"""

import mmap
import time
from pathlib import Path
from typing import Final

_BYTES: Final = 24
_LEAVE, _WENT_ON, _LEFT = range(3)
_STEP_BITS: Final = 32

_DECISION_S_MAX: Final = 60.0
"""Rank 0 is waited for this many seconds at a step. Ranks compute each step together, so that one
that is behind by more has ended, and what it was to decide does not matter any more.
"""

_NAP_S: Final = 0.000_1


class Mark:
    """A Mark is such a piece of memory, in a file.

    Orders are numbered upwards from 1, and the steps of each from 1.
    """

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _BYTES)
        self._numbers = memoryview(self._memory).cast("Q")

    @classmethod
    def new(cls, file: Path) -> "Mark":
        """Returns a mark in a new file."""
        file.write_bytes(bytes(_BYTES))
        return cls(file)

    def leave(self, number: int) -> None:
        """Says that an order is to be left; it may have ended already."""
        self._numbers[_LEAVE] = number

    def to_leave(self, number: int) -> bool:
        """Tells whether an order is to be left."""
        return self._numbers[_LEAVE] == number

    def decide(self, number: int, step: int) -> bool:
        """Tells whether an order is left behind this step, and all other ranks too: for rank 0."""
        leaves = self.to_leave(number)
        self._numbers[_LEFT if leaves else _WENT_ON] = number << _STEP_BITS | step
        return leaves

    def decided(self, number: int, step: int) -> bool:
        """Tells what rank 0 decided behind this step, once it has: for all other ranks.

        Each would see the mark at a step of its own, and wait for the others in the next.
        """
        here = number << _STEP_BITS | step
        until = time.monotonic() + _DECISION_S_MAX
        while self._numbers[_WENT_ON] < here and time.monotonic() < until:
            if self._numbers[_LEFT] == here:
                return True
            time.sleep(_NAP_S)
        return False
