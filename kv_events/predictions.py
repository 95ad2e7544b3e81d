"""Keeps which of a rank's blocks are predicted, by which prediction, and until when.

The mark of a predicted block lies with the block itself, in the index's own table: a prompt of 128k
tokens has 2,000 blocks, and a second table that knows of each of them costs as much again, since
neither stays in a cache.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from protocol.kv_stream import GPU, MEDIA

PREDICTED: Final = 1 << len(MEDIA)
"""Marks a block whose request was routed to the rank a moment ago: the engine is computing it, or
is about to.
"""

NUMBER_SHIFT: Final = len(MEDIA) + 1
"""Is where, behind the mark, the number of the prediction begins."""

MEDIA_BITS: Final = PREDICTED - 1

_IN_GPU: Final = 1 << GPU

_STALE_MAX: Final = 4_096
"""Bounds the blocks kept in vain, beside as many as are predicted, at 40 bytes each: a prediction
of which a part was renewed, or told, keeps all of its blocks until they are looked through.
"""


class _Prediction:
    """A _Prediction is of the blocks of a prompt.

    Attributes:
        blocks: in the prompt's order; some may be another prediction's by now, or none's.
        live: counts those of them that are this one's.
    """

    __slots__ = ("blocks", "live", "until")

    def __init__(self, blocks: list[int], until: float) -> None:
        self.blocks = blocks
        self.live = len(blocks)
        self.until = until


class Predictions:
    """Predictions are one rank's, and mark blocks in its table, `places`.

    Attributes:
        count: blocks that are predicted.
    """

    __slots__ = ("_by_number", "_kept", "_number", "count")

    def __init__(self) -> None:
        self.count = 0
        self._number = 0
        """Is the number of the last prediction."""
        self._kept = 0
        """Counts the blocks of all predictions, whosever they are by now."""
        self._by_number: OrderedDict[int, _Prediction] = OrderedDict()
        """Has the oldest first."""

    def add(self, places: dict[int, int], hashes: Sequence[int], until: float) -> None:
        """Predicts the blocks of a prompt that are behind the last one in GPU memory; those
        predicted before are renewed.
        """
        self._number += 1
        mark = PREDICTED | self._number << NUMBER_SHIFT
        marked = dict.fromkeys(hashes, mark)
        blocks = list(marked)  # each of them once
        renewed: list[int] = []
        if places.keys().isdisjoint(blocks):  # as of a fresh prompt: all in one go
            places.update(marked)
        else:
            begin = len(blocks)
            while begin:
                held = places.get(blocks[begin - 1], 0)
                if held & _IN_GPU:
                    break
                begin -= 1
                if held & PREDICTED:
                    renewed.append(held >> NUMBER_SHIFT)
                places[blocks[begin]] = held & MEDIA_BITS | mark
            del blocks[:begin]
        if blocks:
            self._by_number[self._number] = _Prediction(blocks, until)
            self.count += len(blocks)
            self._kept += len(blocks)
        for number, count in Counter(renewed).items() if renewed else ():
            self.ended(number, count)
        if self._kept > 2 * self.count + _STALE_MAX:
            self._look_through(places)

    def ended(self, number: int, count: int) -> None:
        """Notes that so many blocks of the prediction of that number are predicted no longer."""
        self.count -= count
        prediction = self._by_number[number]
        prediction.live -= count
        if not prediction.live:
            self._drop(number)

    def expire(self, places: dict[int, int], now: float) -> None:
        """Forgets the predictions whose time has passed."""
        while self._by_number:
            number, prediction = next(iter(self._by_number.items()))
            if prediction.until > now:
                break
            for block in _live(places, number, prediction):
                _unmark(places, block)
            self.count -= prediction.live
            self._drop(number)

    def forget_oldest(self, places: dict[int, int]) -> None:
        """Forgets one block: the last one of the oldest prediction. So whatever is forgotten, no
        block stays predicted whose prompt's beginning was predicted with it and is not.
        """
        number, prediction = next(iter(self._by_number.items()))
        while True:
            block = prediction.blocks.pop()
            self._kept -= 1
            if places.get(block, 0) >> NUMBER_SHIFT == number:
                _unmark(places, block)
                self.ended(number, 1)
                return

    def all(self, places: dict[int, int]) -> list[tuple[list[int], float]]:
        """Returns the blocks of each prediction, in their prompt's order, and until when it counts;
        the oldest first.
        """
        return [
            (_live(places, number, each), each.until) for number, each in self._by_number.items()
        ]

    def _drop(self, number: int) -> None:
        self._kept -= len(self._by_number.pop(number).blocks)

    def _look_through(self, places: dict[int, int]) -> None:
        for number, each in self._by_number.items():
            each.blocks = _live(places, number, each)
        self._kept = self.count


def _live(places: dict[int, int], number: int, prediction: _Prediction) -> list[int]:
    """Returns the blocks that are this prediction's."""
    return [block for block in prediction.blocks if places.get(block, 0) >> NUMBER_SHIFT == number]


def _unmark(places: dict[int, int], block: int) -> None:
    held = places[block] & MEDIA_BITS
    if held:
        places[block] = held
    else:
        del places[block]
