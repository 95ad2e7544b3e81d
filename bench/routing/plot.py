"""Small multiples of a result: one column a workload and fleet, bars by mode for TTFT, tokens,
cached share and spread of load.
"""

from pathlib import Path
from typing import Any, Final

from bench.kit.canvas import blank, save

ROWS: Final = {
    "ttft_p50_ms": "TTFT p50, ms",
    "ttft_p99_ms": "TTFT p99, ms",
    "e2e_p50_ms": "end to end p50, ms",
    "cached_share": "cached share of prompts",
    "load_spread": "busiest rank / mean",
}
COLOURS: Final = {"kv": "#c0392b"}


def _bars(axes: Any, cells: list[dict[str, Any]], key: str) -> None:
    names = [f"{cell['label']}{' x2' if cell['frontends'] == 2 else ''}" for cell in cells]
    values = [cell[key] for cell in cells]
    axes.barh(names, values, color=[COLOURS.get(cell["mode"], "#7f8c8d") for cell in cells])
    axes.invert_yaxis()
    axes.tick_params(labelsize=6)
    axes.margins(x=0.25)
    if key == "cached_share":
        axes.axvline(cells[0]["perfect_share"], color="black", linewidth=0.8, linestyle=":")
    for position, value in enumerate(values):
        axes.text(
            value,
            position,
            f" {value:,.0f}" if value >= 100 else f" {value:.3g}",
            va="center",
            fontsize=6,
        )


def plot(cells: list[dict[str, Any]], out: Path) -> None:
    """Draws cells (bench.routing.report.as_json) as a PNG. x2: two frontends without a link.

    Dotted: a perfect cache.
    """
    columns = list(
        dict.fromkeys(
            (cell["workload"], cell["ranks"])
            for cell in sorted(cells, key=lambda cell: cell["workload"])
        )
    )
    figure, grid = blank(len(ROWS), len(columns), (2.6 * len(columns), 1.9 * len(ROWS)))
    for column, (name, ranks) in enumerate(columns):
        mine = [cell for cell in cells if (cell["workload"], cell["ranks"]) == (name, ranks)]
        mine.sort(key=lambda cell: (cell["mode"] != "kv", cell["label"], cell["frontends"]))
        for row, (key, label) in enumerate(ROWS.items()):
            axes = grid[row][column]
            _bars(axes, mine, key)
            if row == 0:
                axes.set_title(f"{name}, {ranks} ranks", fontsize=8)
            axes.set_xlabel(label, fontsize=6)
            if column:
                axes.set_yticklabels([])
    save(figure, out, dpi=100)
