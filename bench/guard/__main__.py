"""`python -m bench.guard`: whether a chat or a token costs more than is committed to.

Counts the instructions of frontend and worker for a chat (one by one) and for a token (16 paced
streams), each beside a bare ASGI app's, and holds the ratios to bench/guard/bounds.json with 10 %
of slack. Ends with 1 where one rose, and says which. `--set` commits to what is measured now;
`--plant frontend:chat:1000` has every chat take 1,000 turns of an empty loop more, a fifth of its
cost, to show that it is seen. Needs valgrind.
"""

import argparse
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.compare.systems import machine
from bench.guard.bounds import Costs, read_bounds, verdicts, write_bounds
from bench.guard.counted import missing
from bench.guard.loads import LOADS
from bench.guard.planted import Plant
from bench.guard.slices import TooSlow, measured, middle
from bench.guard.systems import MODEL_DIR, start_systems
from bench.kit.load import LoadFailed
from bench.kit.workloads import Corpus
from starter.fleet import Fleet


def costs(plant: Plant | None) -> Costs:
    """Measures all loads."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        fleet = Fleet(Path(directory))
        stack.callback(fleet.stop)
        try:
            return _measured(fleet, plant)
        except LoadFailed:  # as of a process that ended
            for process in fleet.processes:
                print(process.last_words())
            raise


def _measured(fleet: Fleet, plant: Plant | None) -> Costs:
    kvmesh, bare = start_systems(fleet, plant)
    corpus, found = Corpus(MODEL_DIR), dict[str, dict[str, int]]()
    for load in LOADS:
        slices = measured(load, load.write(corpus, fleet.directory), kvmesh[load.name], bare)
        for process, each in slices.items():
            print(f"{load.name:6}{process:9}{each} instructions", flush=True)
        found[load.name] = middle(slices)
    return found


def guard(found: Costs) -> int:
    """Judges all of them; returns the exit status."""
    there, committed = read_bounds()
    here = _machine()
    if here != there:
        print(f"bounds are of {there}, this is {here}")
    judged = verdicts(committed, found)
    for each in judged:
        print(each.told())
    risen = [each for each in judged if each.risen]
    for each in risen:
        print(f"FAILED: {each.failure()}")
    if not risen and any(each.fallen for each in judged):
        print("costs fell: make bench-guard ARGS=--set has them stay there")
    return 1 if risen else 0


def _machine() -> dict[str, str]:
    """What instructions hang on."""
    here = machine()
    return {"cpu": here["cpu"], "python": here["python"]}


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--set", action="store_true", help="commit to what is measured now")
    parser.add_argument(
        "--plant",
        type=Plant.read,
        metavar="PROGRAM:PLACE:TURNS",
        help="slow frontend:chat, frontend:token or workers:chat down",
    )
    arguments = parser.parse_args()
    if lacking := missing():
        print(f"the guard counts instructions with valgrind: {', '.join(lacking)} not found")
        return 2
    # whoever ends this ends what it started, too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun_at = time.monotonic()
    try:
        found = costs(arguments.plant)
    except (LoadFailed, TooSlow) as error:
        print(f"FAILED: not measured: {error}")
        return 1
    if arguments.set:
        write_bounds(_machine(), found)
    status = guard(found)
    print(f"{'costs rose' if status else 'within bounds'}; {time.monotonic() - begun_at:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
