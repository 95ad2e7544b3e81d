"""Figures of loads as one picture: an SVG that stands alone, light or dark as its viewer is."""

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from frontend.cli.bench.chart import Chart, Line, text
from frontend.cli.bench.measurement import Report
from frontend.cli.bench.summary import Quantiles, Summary, notes_of, users

WIDTH: Final = 960
_MARGIN: Final = 24
_HEAD: Final = 76
_CHART_WIDTH: Final = (WIDTH - 3 * _MARGIN) // 2
_CHART_HEIGHT: Final = 250

NOTES_MAX: Final = 12
"""Bounds the notes under the charts; the table has them all."""

NOTE_CHARS_MAX: Final = 130

_STYLE: Final = """
  svg { --ground: #ffffff; --ink: #1f2430; --faint: #667085; --grid: #e4e7ec; --first: #2563eb;
        --second: #d9730d; --fill: #dbe7ff; background: var(--ground);
        font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #14171f; --ink: #e6e9f0; --faint: #98a2b3; --grid: #2a2f3a; --first: #6ea8ff;
          --second: #f5a35c; --fill: #22345c; } }
  .ground { fill: var(--ground) } .ink { fill: var(--ink) } .faint { fill: var(--faint) }
  .grid { stroke: var(--grid); stroke-width: 1 } .first { stroke: var(--first) }
  .second { stroke: var(--second) } .line { fill: none; stroke-width: 2 }
  .dot-first { fill: var(--first) } .dot-second { fill: var(--second) }
  .title { font-size: 20px; font-weight: 600 } .name { font-size: 14px; font-weight: 600 }
  .small { font-size: 12px }
  .value { font-size: 12px; font-weight: 600; stroke: var(--ground); stroke-width: 4px;
           paint-order: stroke; stroke-linejoin: round }
"""


def drawing(report: Report) -> str:
    """Returns the picture of a report, as a whole file."""
    notes = _notes(report)
    below = _HEAD + 2 * (_CHART_HEIGHT + _MARGIN)
    height = below + 18 * len(notes) + _MARGIN
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(report.model)}: how fast it answers</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}"/>',
        text(_MARGIN, 36, report.model, "title ink"),
        text(_MARGIN, 58, _told(report), "small faint"),
    ]
    for number, chart in enumerate(_charts(report.loads)):
        x = _MARGIN + number % 2 * (_CHART_WIDTH + _MARGIN)
        y = _HEAD + number // 2 * (_CHART_HEIGHT + _MARGIN)
        parts.append(f'<g transform="translate({x} {y})">')
        parts += chart.drawn(_CHART_WIDTH, _CHART_HEIGHT)
        parts.append("</g>")
    parts += [
        text(_MARGIN, below + 18 * number, note, "small faint") for number, note in enumerate(notes)
    ]
    return "\n".join([*parts, "</svg>", ""])


def _charts(loads: Sequence[Summary]) -> Iterator[Chart]:
    labels = [str(each.concurrency) for each in loads]
    yield Chart(
        "Output tokens per second",
        "users at once",
        labels,
        [Line("", [each.output_tokens_per_s for each in loads])],
        bars=True,
    )
    yield Chart(
        "Output tokens per second of one user",
        "users at once",
        labels,
        [Line("", [each.output_tokens_per_s / each.concurrency for each in loads])],
        bars=True,
    )
    yield Chart(
        "Time to first token, ms", "users at once", labels, _lines([each.ttft_ms for each in loads])
    )
    yield Chart(
        "Between two tokens, ms",
        "users at once",
        labels,
        _lines([each.inter_token_ms for each in loads]),
    )


def _lines(quantiles: Sequence[Quantiles | None]) -> list[Line]:
    return [
        Line("p50", [each and each.p50 for each in quantiles]),
        Line("p99", [each and each.p99 for each in quantiles]),
    ]


def _told(report: Report) -> str:
    when = report.started.strftime("%Y-%m-%d %H:%M UTC")
    return f"kvmesh bench of {report.url} ({report.endpoint}), {when}"


def _notes(report: Report) -> list[str]:
    told = [report.asked, report.way, *report.notes, *notes_of(report.loads)]
    cached = [
        f"{users([each.concurrency])} {each.cached_share:.0%}"
        for each in report.loads
        if each.cached_share is not None
    ]
    if cached:
        told.insert(2, f"prompt tokens that were cached: {', '.join(cached)}")
    if len(told) > NOTES_MAX:
        told = [*told[: NOTES_MAX - 1], f"and {len(told) - NOTES_MAX + 1} more notes in the table"]
    return [_cut(note) for note in told]


def _cut(note: str) -> str:
    return note if len(note) <= NOTE_CHARS_MAX else f"{note[: NOTE_CHARS_MAX - 1]}…"
