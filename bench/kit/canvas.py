"""Matplotlib as pictures of results take it: without a screen, and with a grid of axes each."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def blank(lines: int, columns: int, inches: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its axes, line by line. Matplotlib's own types lack half of their options."""
    figure, grid = plt.subplots(lines, columns, figsize=inches, squeeze=False)
    return figure, grid


def save(figure: Any, out: Path, *, dpi: int) -> Path:
    """Writes a figure as a PNG and lets go of it; returns the PNG's path."""
    figure.tight_layout()
    figure.savefig(out, dpi=dpi)
    plt.close(figure)
    return out
