"""`python -m bench.scale.plot`: the curves of bench/results/scale.json as a picture beside it."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from bench.kit.canvas import blank, save
from starter.process import REPO

COLUMNS: Final = 3
Series = dict[str, list[float]]

PANELS: Final[dict[str, tuple[str, str, str, dict[str, str]]]] = {
    "a token": (
        "streams",
        "streams",
        "µs of CPU",
        {"frontend_us": "frontend", "worker_us": "worker"},
    ),
    "the next token of a stream": (
        "streams",
        "streams",
        "ms, less the pace",
        {"late_p50_ms": "p50", "late_p99_ms": "p99"},
    ),
    "a chat by its prompt": (
        "prompts",
        "prompt_tokens",
        "µs of CPU",
        {"frontend_us": "frontend", "worker_us": "worker"},
    ),
    "a chat among so many workers": (
        "workers",
        "workers",
        "µs of the frontend's CPU",
        {"chat_us": "with heartbeats", "chat_us_without_idle": "without"},
    ),
    "a frontend that nobody asks": (
        "workers",
        "workers",
        "cores",
        {"idle_cores": "heartbeats and KV feeds"},
    ),
    "choosing a rank": (
        "ranks",
        "ranks",
        "µs of CPU",
        {"route_short_us": "128 tokens", "route_long_us": "8k tokens, 4k shared"},
    ),
}
"""Holds by title: the curve, its x, the unit of y, and what is drawn."""


def points_of(found: dict[str, Any], curve: str) -> list[dict[str, Any]]:
    """The points of a curve, with what follows from them; none where it was not measured."""
    points = found.get(curve, {"points": []})["points"]
    if curve != "streams":
        return points
    return [
        point
        | {
            # none is early, but the pace is the timing model's where the cache is empty
            "late_p50_ms": max(0.01, point["gap_p50_ms"] - point["pace_ms"]),
            "late_p99_ms": max(0.01, point["gap_p99_ms"] - point["pace_ms"]),
        }
        for point in points
    ]


def plot(result_file: Path) -> Path:
    """Draws them; returns the PNG's path."""
    found = json.loads(result_file.read_text())
    rows = -(-len(PANELS) // COLUMNS)
    figure, grid = blank(rows, COLUMNS, (5 * COLUMNS, 3.4 * rows))
    for axes, (title, panel) in zip(grid.flat, PANELS.items(), strict=True):
        _draw(axes, title, panel, points_of(found, panel[0]))
    return save(figure, result_file.with_suffix(".png"), dpi=110)


def _draw(
    axes: Any,
    title: str,
    panel: tuple[str, str, str, dict[str, str]],
    points: list[dict[str, Any]],
) -> None:
    _, across, unit, series = panel
    axes.set_title(title, fontsize=10)
    if not points:
        return
    for key, label in series.items():
        axes.plot(
            [point[across] for point in points],
            [point[key] for point in points],
            marker="o",
            label=label,
        )
    axes.set_xscale("log", base=2)
    if title in {"a token", "the next token of a stream", "a chat by its prompt"}:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(across.replace("_", " "), fontsize=8)
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    print(plot(Path(sys.argv[1]) if len(sys.argv) > 1 else REPO / "bench/results/scale.json"))
