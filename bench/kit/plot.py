"""`python -m bench.kit.plot bench/results/NAME.json`: one bar chart a row, medians with the range
over rounds, as a PNG beside it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from bench.kit.canvas import blank, save

COLUMNS = 3
OURS, THEIRS = "#c0392b", "#7f8c8d"


def _bars(axes: Any, row: dict[str, Any]) -> None:
    names = list(row["systems"])
    key = row["headline"]
    middles = [row["systems"][name]["median"][key] or 0.0 for name in names]
    rounds = [[one[key] or 0.0 for one in row["systems"][name]["rounds"]] for name in names]
    below = [max(0.0, middle - min(values)) for middle, values in zip(middles, rounds, strict=True)]
    above = [max(0.0, max(values) - middle) for middle, values in zip(middles, rounds, strict=True)]
    axes.barh(
        names,
        middles,
        xerr=[below, above],
        color=[OURS if name == "kvmesh" else THEIRS for name in names],
        capsize=3,
    )
    axes.invert_yaxis()
    axes.set_title(row["title"], fontsize=9)
    axes.set_xlabel(f"{key} ({'more' if row['more_is_better'] else 'less'} is better)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(x=0.15)
    for position, value in enumerate(middles):
        axes.text(
            value,
            position,
            f" {value:,.0f}" if value >= 1000 else f" {value:.3g}",
            va="bottom",
            fontsize=7,
        )


def plot(result_file: Path) -> Path:
    """Draws every row of a bench.compare.run result; returns the PNG's path."""
    result = json.loads(result_file.read_text())
    rows = [row for row in result["rows"].values() if row["systems"]]
    lines = max(1, -(-len(rows) // COLUMNS))
    figure, grid = blank(lines, COLUMNS, (5 * COLUMNS, 2.8 * lines))
    for position, axes in enumerate(grid.flat):
        if position < len(rows):
            _bars(axes, rows[position])
        else:
            axes.axis("off")
    machine = result["machine"]
    figure.suptitle(
        (
            f"{result['table']}: {machine['cores']} cores {machine['cpu']}, {result['rounds']} "
            "rounds, simulated engines"
        ),
        fontsize=10,
    )
    return save(figure, result_file.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(plot(Path(name)))
