"""The last minutes as charts of blocks, one beside the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from frontend.cli.top.bars import Cell, plot, round_up
from frontend.cli.top.seen import Seen
from frontend.cli.top.words import count
from frontend.status.snapshot import Point

WIDE_COLUMNS: Final = 100
"""Is the width from which on four charts stand beside each other, else two."""


@dataclass(frozen=True)
class Series:
    """A Series is what one chart shows.

    Attributes:
        above: a second figure behind it, that is never less.
        told: names both.
        colours: of the one and of what is behind it.
    """

    name: str
    unit: str
    value: Callable[[Point], float | None]
    above: Callable[[Point], float | None] | None
    told: str
    colours: tuple[str, str]


SERIES: Final = (
    Series("tokens", "/s", lambda point: point.tokens, None, "", ("cyan", "")),
    Series(
        "first token",
        "ms",
        lambda point: point.ttft_ms,
        lambda point: point.ttft_ms_max,
        "median, slowest",
        ("yellow", "orange4"),
    ),
    Series("token to token", "ms", lambda point: point.inter_token_ms, None, "mean", ("green", "")),
    Series(
        "requests",
        "",
        lambda point: point.running - point.waiting,
        lambda point: point.running,
        "running, queued",
        ("magenta", "purple4"),
    ),
)


def charts_height(width: int, rows: int) -> int:
    """Returns how many lines the charts take with so many rows of blocks each."""
    return (rows + 2) * (1 if width >= WIDE_COLUMNS else 2)


def charts(seen: Seen, width: int, rows: int) -> Table:
    """Returns all charts, in so many columns of the terminal."""
    beside = 4 if width >= WIDE_COLUMNS else 2
    grid = Table.grid(expand=True)
    for _ in range(beside):
        grid.add_column(ratio=1)
    inner = width // beside - 4
    drawn = [_panel(each, seen, inner, rows) for each in SERIES]
    for start in range(0, len(drawn), beside):
        grid.add_row(*drawn[start : start + beside])
    return grid


def slots(
    points: Sequence[Point], step_s: float, width: int, value: Callable[[Point], float | None]
) -> list[float | None]:
    """Returns a value for each of the last `width` steps, the newest last; None where there is
    none, as while nobody answered.
    """
    found: list[float | None] = [None] * width
    if not points or width < 1:
        return found
    newest = points[-1].at_unix_s
    for point in points:
        back = round((newest - point.at_unix_s) / step_s)
        if 0 <= back < width:
            found[width - 1 - back] = value(point)
    return found


def _panel(series: Series, seen: Seen, width: int, rows: int) -> Panel:
    step_s = seen.snapshot.step_s if seen.snapshot else 1.0
    values = slots(seen.points, step_s, width, series.value)
    above = slots(seen.points, step_s, width, series.above) if series.above else []
    most = round_up(max((each for each in [*values, *above] if each is not None), default=0.0))
    body = Text("\n", no_wrap=True).join(
        _row(cells, *series.colours) for cells in plot(values, most, rows, above)
    )
    now = f"{count(values[-1] if values else None)} {series.unit}".strip()
    title = Text.assemble((series.name, "bold"), " ", (now, series.colours[0]))
    told = f"{series.told}; " if series.told else ""
    return Panel(
        body,
        title=title,
        title_align="left",
        subtitle=Text(f"{told}up to {count(most)}", style="dim"),
        subtitle_align="right",
        border_style="dim",
        height=rows + 2,
    )


def _row(cells: Sequence[Cell], colour: str, behind: str) -> Text:
    row = Text(no_wrap=True)
    for cell in cells:
        before = f"{colour} on {behind}" if cell.before else colour
        row.append(cell.character, behind if cell.over else before)
    return row
