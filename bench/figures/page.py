"""docs/figures.md as a text: an introduction, and a section for each kind of measurement."""

from pathlib import Path
from typing import Final

from bench.figures import (
    attacks,
    engines,
    faults,
    gpus,
    legs,
    made,
    media,
    memory,
    noted,
    parts,
    peers,
    pictures_apart,
    processes,
    routing,
    scale,
)
from bench.figures.markdown import wrapped

PAGE: Final = Path(__file__).parents[2] / "docs" / "figures.md"

INTRODUCTION: Final = """\
# Figures

Made by `python -m bench.figures` from `bench/results/`. Do not edit it: other documents link to
here, so that no figure is typed twice. [bench/README.md](../bench/README.md) says how each is
measured, and with which command to measure it again.

TTFT is the time to the first token. "p50 / p99" are percentiles. CPU is that of the processes
named, with their children."""


def page() -> str:
    """The whole of docs/figures.md, ending with a line break."""
    sections = [
        INTRODUCTION,
        *peers.sections(),
        *gpus.sections(),
        *faults.sections(),
        *attacks.sections(),
        *routing.sections(),
        *engines.sections(),
        *legs.sections(),
        *media.sections(),
        *made.sections(),
        *pictures_apart.sections(),
        *processes.sections(),
        *memory.sections(),
        *scale.sections(),
        *parts.sections(),
        *noted.sections(),
    ]
    return "\n\n".join(map(wrapped, sections)) + "\n"
