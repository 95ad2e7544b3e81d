"""Numbers as blocks of characters: bars that lie, and lines of columns that stand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"
_ROUND: Final = (1, 1.5, 2, 3, 4, 5, 6, 8, 10)
_LYING: Final = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True)
class Cell:
    """A Cell is one character of a plot.

    Attributes:
        over: it shows what lies above the first series alone.
        before: it shows the first series before the second one, which fills the cell.
    """

    character: str
    over: bool = False
    before: bool = False


def bar(share: float, width: int) -> str:
    """Returns a lying bar of `width` characters, of which a share from 0 to 1 is filled."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_LYING[part] if part else "")).ljust(width)


def plot(
    values: Sequence[float | None], most: float, rows: int, above: Sequence[float | None] = ()
) -> list[list[Cell]]:
    """Returns rows of cells, the uppermost first, in which each value is a column.

    Args:
        most: the value that is as high as the plot.
        above: a second series behind the first, as the greatest behind the median.
    """
    heights = [_eighths(value, most, rows) for value in values]
    behind = [_eighths(value, most, rows) for value in above] or [0] * len(heights)
    return [
        [
            _cell(first - 8 * row, second - 8 * row)
            for first, second in zip(heights, behind, strict=True)
        ]
        for row in reversed(range(rows))
    ]


def round_up(value: float) -> float:
    """Returns the least round number that is not below the value."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(each * power for each in _ROUND if each * power >= value * (1 - 1e-9))


def _eighths(value: float | None, most: float, rows: int) -> int:
    """Returns how many eighths of a character a value is high, of which something has one."""
    if value is None or value <= 0:
        return 0
    return max(1, min(8 * rows, round(value / most * rows * 8)))


def _cell(first: int, second: int) -> Cell:
    if first <= 0 < second:
        return Cell(_EIGHTHS[min(8, second)], over=True)
    return Cell(_EIGHTHS[min(8, max(0, first))], before=0 < first < 8 <= second)
