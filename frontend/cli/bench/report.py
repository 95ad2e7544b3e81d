"""What was measured is printed as a table or JSON, and drawn."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

from frontend.cli.bench.drawing import drawing
from frontend.cli.bench.measurement import Report
from frontend.cli.bench.table import lines

NAMES_TRIED_MAX: Final = 10_000
"""Bounds the pictures in one folder under names of ours."""

_NAME: Final = "kvmesh-bench"


def print_report(report: Report, *, as_json: bool) -> None:
    """Prints what was measured."""
    if as_json:
        told = asdict(report) | {"started": report.started.isoformat(timespec="seconds")}
        print(json.dumps(told, indent=2))
        return
    print(f"{report.model} at {report.url} ({report.endpoint})")
    print(f"{report.asked}; {report.way}; seed {report.seed}\n")
    print("\n".join([*lines(report.loads), *(f"  {note}" for note in report.notes)]))


def save_drawing(report: Report, path: Path | None, *, quiet: bool) -> None:
    """Draws what was measured into a new file, and says which."""
    drawn = drawing(report)
    for name in [path] if path is not None else _names():
        try:
            with name.open("x", encoding="utf-8") as file:
                file.write(drawn)
        except FileExistsError:
            continue
        except OSError as error:
            print(f"kvmesh: no picture: {name}: {error.strerror}")
            return
        if not quiet:
            print(f"\ndrawn in {name}")
        return


def _names() -> list[Path]:
    return [Path(f"{_NAME}-{number}.svg") for number in range(1, NAMES_TRIED_MAX)]
