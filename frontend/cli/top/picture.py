"""One picture of a frontend, as large as the terminal."""

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from frontend.cli.top.charts import WIDE_COLUMNS, charts, charts_height
from frontend.cli.top.seen import Seen
from frontend.cli.top.tables import models, news, rows_wanted, slowest, workers
from frontend.cli.top.words import VERDICT_STYLES, plain, span
from frontend.status.snapshot import Snapshot

CHART_ROWS_MIN: Final = 2
CHART_ROWS_MAX: Final = 7
"""Bound the rows of blocks of a chart, which has what workers leave."""

LEAST_LINES: Final = 16
"""Is the height of a terminal below which there are no charts."""

MODELS_MAX: Final = 4
NEWS_MAX: Final = 5
SLOWEST_MAX: Final = 3
"""Bound the lines of models, of news and of slow requests; workers have what is left."""

SLOWEST_LINES: Final = 28
"""Is the height of a terminal below which slow requests are not told."""


def picture(
    seen: Seen, url: str, now: float, width: int, height: int, *, hint: str = ""
) -> RenderableType:
    """Returns the picture, with a hint beside the address.

    Args:
        now: in seconds of the clock that `seen` was told problems by.
    """
    snapshot = seen.snapshot
    if snapshot is None:
        return _nothing_yet(seen, url, now)
    about = f"{url}  up {span(snapshot.up_s)}  {hint}" if width >= WIDE_COLUMNS else hint
    head = _head(snapshot, seen, about.rstrip(), now)
    told = [*news(snapshot, NEWS_MAX)]
    shown = min(MODELS_MAX, len(snapshot.models))
    slow = [*slowest(snapshot, SLOWEST_MAX)] if height >= SLOWEST_LINES else []
    left = height - len(head) - (shown + 2 if shown else 0)
    left -= sum(len(lines) + 2 for lines in (told, slow) if lines)
    parts: list[RenderableType] = [*head]
    if height >= LEAST_LINES:
        rows = _chart_rows(width, left - rows_wanted(snapshot) - 1)
        parts.append(charts(seen, width, rows))
        left -= charts_height(width, rows)
    if shown:
        parts += [models(snapshot, shown), Text()]
    parts.append(workers(snapshot, width, max(1, left - 1)))
    for name, lines in (("lately", told), ("slowest", slow)):
        if lines:
            parts += [Text(), Text(name, style="dim"), *lines]
    return Group(*parts)


def _chart_rows(width: int, lines: int) -> int:
    """Returns how many rows of blocks charts have for which there are so many lines."""
    rows = CHART_ROWS_MAX
    while rows > CHART_ROWS_MIN and charts_height(width, rows) > lines:
        rows -= 1
    return rows


def _head(snapshot: Snapshot, seen: Seen, about: str, now: float) -> list[RenderableType]:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    line.add_column(no_wrap=True, justify="right")
    if seen.problem:
        ago = span(now - seen.problem_since)
        state = Text(f"● no news for {ago}: {plain(seen.problem)}", style="bold red")
    else:
        style = VERDICT_STYLES.get(snapshot.verdict, "bold yellow")
        state = Text(f"● {plain(snapshot.verdict)}", style=style)
    line.add_row(
        Text.assemble(("kvmesh ", "bold"), (plain(snapshot.version), "dim"), "  ", state),
        Text(about, style="dim"),
    )
    head: list[RenderableType] = [line]
    if snapshot.reasons and not seen.problem:
        reasons = plain("; ".join(snapshot.reasons))
        head.append(Text(reasons, style="yellow", no_wrap=True, overflow="ellipsis"))
    return head


def _nothing_yet(seen: Seen, url: str, now: float) -> RenderableType:
    return Text.assemble(
        ("kvmesh  ", "bold"),
        (f"● no answer from {url} for {span(now - seen.problem_since)}: ", "bold red"),
        (plain(seen.problem), "red"),
        ("\n\nIt is asked again every second; q ends.", "dim"),
    )
