"""A chart of one figure over the loads, as elements of SVG."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from frontend.cli.bench.table import number

_LEFT: Final = 58
_TOP: Final = 34
_BOTTOM: Final = 42
_RIGHT: Final = 16

LOG_FROM: Final = 30.0
"""Is how many times the least value the greatest is from which on a scale goes by powers of ten."""

_TICKS: Final = 4
_LABEL_HEIGHT: Final = 22
_CLASSES: Final = ("first", "second")


@dataclass(frozen=True)
class Line:
    """A Line is a figure of each load; None where there is none."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Scale:
    """A Scale turns values into heights, from 0 to 1.

    Attributes:
        ticks: values that are marked, of which the first is at the bottom and the last on top.
    """

    ticks: Sequence[float]
    logarithmic: bool

    def share(self, value: float) -> float:
        """Returns how high a value stands."""
        least, most = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            least, most, value = math.log10(least), math.log10(most), math.log10(max(value, least))
        return (value - least) / (most - least)


def scale_of(values: Sequence[float], *, from_zero: bool) -> Scale:
    """Returns a scale with round marks that has room for all values."""
    least, most = min(values, default=0.0), max(values, default=0.0)
    if not from_zero and least > 0 and most / least > LOG_FROM:
        first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
        return Scale([10.0**power for power in range(first, last + 1)], logarithmic=True)
    step = _round_step((most or 1.0) / _TICKS)
    count = max(1, math.ceil((most or 1.0) / step - 1e-9))
    return Scale([step * number for number in range(count + 1)], logarithmic=False)


@dataclass(frozen=True)
class Chart:
    """A Chart shows lines, or bars, over labels that are equally far apart."""

    name: str
    below: str
    labels: Sequence[str]
    lines: Sequence[Line]
    bars: bool = False

    def drawn(self, width: int, height: int) -> Iterator[str]:
        """Yields the elements of the chart in a box of so many pixels."""
        inner_width, inner_height = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM
        there = [value for line in self.lines for value in line.values if value is not None]
        scale = scale_of(there, from_zero=self.bars)

        def x(position: int) -> float:
            return _LEFT + inner_width * (position + 0.5) / len(self.labels)

        def y(value: float) -> float:
            return _TOP + inner_height * (1 - scale.share(value))

        yield text(0, 16, self.name, "name ink")
        yield from self._legend(width)
        for tick in scale.ticks:
            yield _rule(_LEFT, width - _RIGHT, y(tick))
            yield text(_LEFT - 8, y(tick) + 4, _mark(tick), "small faint", anchor="end")
        for position, label in enumerate(self.labels):
            yield text(x(position), height - 24, label, "small ink", anchor="middle")
        yield text(_LEFT + inner_width / 2, height - 6, self.below, "small faint", anchor="middle")
        if not there:
            yield text(
                width / 2, height / 2, "nothing was measured", "small faint", anchor="middle"
            )
        for kind, line in zip(_CLASSES, self.lines, strict=False):
            points = [
                (x(position), y(value), value)
                for position, value in enumerate(line.values)
                if value is not None
            ]
            if self.bars:
                bar = min(72.0, 0.6 * inner_width / len(self.labels))
                yield from _bars(points, bar, _TOP + inner_height)
            else:
                above = kind == _CLASSES[-1]
                yield from _line(points, kind, above=above, ground=_TOP + inner_height)

    def _legend(self, width: int) -> Iterator[str]:
        named = [(kind, line.name) for kind, line in zip(_CLASSES, self.lines, strict=False)]
        for place, (kind, name) in enumerate(reversed([each for each in named if each[1]])):
            right = width - _RIGHT - 52 * place
            yield f'<circle class="dot-{kind}" cx="{right - 34:.1f}" cy="12" r="4"/>'
            yield text(right, 16, name, "small ink", anchor="end")


def text(x: float, y: float, words: str, kind: str, *, anchor: str = "start") -> str:
    """Returns an element of text."""
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} class="{kind}">{escape(words)}</text>'


Point = tuple[float, float, float]
"""A Point is where a value stands, and the value."""


def _bars(points: Sequence[Point], width: float, ground: float) -> Iterator[str]:
    for x, y, value in points:
        yield (
            f'<rect class="dot-first" x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{max(0.0, ground - y):.1f}" rx="3"/>'
        )
        yield text(x, y - 6, number(value), "value ink", anchor="middle")


def _line(points: Sequence[Point], kind: str, *, above: bool, ground: float) -> Iterator[str]:
    if len(points) > 1:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
        yield f'<polyline class="line {kind}" points="{path}"/>'
    for x, y, value in points:
        yield f'<circle class="dot-{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        if not above and y + _LABEL_HEIGHT > ground:  # it would lie on the labels of the axis
            yield text(x + 9, y + 4, number(value), "value ink")
        else:
            yield text(x, y - 9 if above else y + 18, number(value), "value ink", anchor="middle")


def _rule(left: float, right: float, y: float) -> str:
    return f'<line class="grid" x1="{left:.1f}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _mark(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 or not value else f"{value:g}"


def _round_step(least: float) -> float:
    """Returns the least of 1, 2, 2.5, 5, 10 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= least * (1 - 1e-9))
