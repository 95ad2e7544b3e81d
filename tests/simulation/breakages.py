"""Production code broken on purpose, one line at a time: does the simulation see it?

python -m tests.simulation.breakages [--seeds N] [--only PART] [--kinds KIND,KIND]

Tries those whose name has PART, in worlds of these kinds, or in those that have `legs`, `pictures`
or `drawings`. Each is a text of the packages and what stands there in its place, tried in a copy of
the tree by as many worlds as it takes to see it, and by those of N seeds at most; defects of legs
and of what encodes or makes pictures by N worlds that have them. Run by hand: all of it takes a
quarter of an hour. Ends with 1 if one was not seen that is not said to be invisible, and with 2 if
a text is not there any more.
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.simulation.planted import BREAKAGES, Breakage
from tests.simulation.planted_drawings import DRAWING_BREAKAGES
from tests.simulation.planted_legs import LEG_BREAKAGES
from tests.simulation.planted_pictures import PICTURE_BREAKAGES

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("protocol", "kv_events", "frontend", "workers", "tests")
BROKEN: Final = ("protocol", "frontend", "workers")
SEEDS: Final = 600
SECONDS_MAX: Final = 300.0
"""A world that does not end is seen too."""

_HUNT: Final = """
import sys
from tests.simulation.breakages import hunt
sys.exit(hunt(int(sys.argv[1]), sys.argv[2]))
"""


def hunt(seeds: int, kinds: str = "") -> int:
    """Run worlds until one is broken, and say which; 0 if none was. Called in a copy.

    Args:
        kinds: only worlds of these, with commas between them; all if empty. With "legs",
        "pictures" or "drawings", N worlds that have them.
    """
    from tests.simulation.drawing_plan import has_drawings  # noqa: PLC0415 - of the copy
    from tests.simulation.leg_plan import EVERY, has_legs  # noqa: PLC0415 - of the copy
    from tests.simulation.picture_plan import has_pictures  # noqa: PLC0415 - of the copy
    from tests.simulation.plan import KINDS  # noqa: PLC0415 - of the copy
    from tests.simulation.world import run  # noqa: PLC0415 - of the copy

    logging.disable(logging.CRITICAL)
    having = {"legs": has_legs, "pictures": has_pictures, "drawings": has_drawings}.get(kinds)
    worlds, tried = seeds * (EVERY if having else 1), 0
    for seed in range(worlds):
        if having is not None:
            wanted = having(seed)
        else:
            wanted = not kinds or KINDS[seed % len(KINDS)] in kinds.split(",")
        if not wanted:
            continue
        tried += 1
        try:
            run(seed)
        except BaseException as problem:  # noqa: BLE001 - whatever it is, it was seen
            line = str(problem).partition("\n")[0] or repr(problem)
            print(f"{tried} worlds: {line[:150]}")
            return 1
    return 0


def main() -> int:
    """Try the breakages."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--only", default="")
    parser.add_argument("--kinds", default="")
    asked = parser.parse_args()
    all_of_them = (*BREAKAGES, *LEG_BREAKAGES, *PICTURE_BREAKAGES, *DRAWING_BREAKAGES)
    tried = [each for each in all_of_them if asked.only in each.name]
    with tempfile.TemporaryDirectory() as copy:
        for package in PACKAGES:
            shutil.copytree(ROOT / package, Path(copy) / package)
        told = [_try(each, Path(copy), asked) for each in tried]
    print(f"{told.count('seen')} of {len(tried)} were seen within {asked.seeds} seeds")
    if "nowhere" in told:
        return 2
    return int(
        any(what == "unseen" and not each.unseen for what, each in zip(told, tried, strict=True))
    )


def _try(breakage: Breakage, copy: Path, asked: argparse.Namespace) -> str:
    """Say whether it was "seen" or "unseen", or its text stands "nowhere", or in several places."""
    begun = time.monotonic()
    homes = [
        path
        for package in BROKEN
        for path in sorted((copy / package).rglob("*.py"))
        if breakage.text in path.read_text()
    ]
    what, how = "nowhere", ""
    if len(homes) == 1 and (whole := homes[0].read_text()).count(breakage.text) == 1:
        made = homes[0].stat()
        homes[0].write_text(whole.replace(breakage.text, breakage.instead))
        kinds = asked.kinds or _kind_of(breakage)
        what, how = _run(copy, asked.seeds, kinds)
        homes[0].write_text(whole)
        os.utime(homes[0], ns=(made.st_atime_ns, made.st_mtime_ns))  # what was compiled of it fits
    if what == "unseen" and breakage.unseen:
        how = breakage.unseen
    seconds = time.monotonic() - begun
    print(f"{what:8} {breakage.name} ({seconds:.0f} s) {how}", flush=True)
    return what


def _kind_of(breakage: Breakage) -> str:
    """The worlds that may see it."""
    if breakage in LEG_BREAKAGES:
        return "legs"
    if breakage in DRAWING_BREAKAGES:
        return "drawings"
    return "pictures" if breakage in PICTURE_BREAKAGES else ""


def _run(copy: Path, seeds: int, kinds: str) -> tuple[str, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _HUNT, str(seeds), kinds],
            cwd=copy,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "seen", f"a world did not end within {SECONDS_MAX:.0f} s"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return ("seen" if done.returncode else "unseen"), lines[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
