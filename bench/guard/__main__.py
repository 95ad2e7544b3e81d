"""`python -m bench.guard`: whether a chat or a token costs more CPU than is committed to.

Measures the CPU time of frontend and worker for a chat (64 together) and for a token (64 paced
streams), each beside a bare ASGI app's in the same seconds, and holds the ratios to
bench/guard/bounds.json with 15 % of slack. Ends with 1 where one rose, and says which. `--set`
commits to what is measured now; `--plant frontend:chat:100` burns 100 µs more with every chat, to
show that it is seen.
"""

import argparse
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Final

from bench.compare.systems import machine
from bench.guard.bounds import SLACK, Verdict, read_bounds, spread, write_bounds
from bench.guard.loads import LOADS
from bench.guard.planted import Plant
from bench.guard.rounds import Round, Rounds
from bench.guard.systems import MODEL_DIR, start_systems
from bench.kit.workloads import Corpus

ROUNDS: Final = 5
TRIES_MAX: Final = 3
"""Five rounds decide; where they are noisy, disturbed or above a bound, the median of ten does, or
of fifteen.
"""
TIME_S_MAX: Final = 60.0
"""No further rounds are begun that would end after this."""
BOUNDS_ROUNDS: Final = 9


def verdicts(load: str, committed: dict[str, float], rounds: list[Round]) -> list[Verdict]:
    """One for each process."""
    return [
        Verdict(
            load,
            process,
            committed[process],
            [each.ratios[process] for each in rounds],
            median(each.costs_us[process] for each in rounds),
            median(each.bare_us for each in rounds),
            median(each.others_cores for each in rounds),
        )
        for process in committed
    ]


def judge(taking: Rounds, load: str, committed: dict[str, float], end_at: float) -> list[Verdict]:
    """Takes rounds until they agree, or nothing is left of tries or time."""
    rounds: list[Round] = []
    for number in range(TRIES_MAX):
        begun_at = time.monotonic()
        rounds += taking.take(ROUNDS)
        found = verdicts(load, committed, rounds)
        for each in found:
            print(each.told(), flush=True)
        unclear = [each for each in found if each.risen or each.noisy or each.disturbed]
        took_s = time.monotonic() - begun_at
        if not unclear or number == TRIES_MAX - 1:
            break
        if time.monotonic() + took_s > end_at:
            print(f"{load}: no time is left for more rounds", flush=True)
            break
        print(f"{load}: {ROUNDS} more rounds, since not all is clear", flush=True)
    return found


def guard(takings: dict[str, Rounds], begun_at: float) -> int:
    """Judges all loads; returns the exit status."""
    committed = read_bounds()
    found: list[Verdict] = []
    for position, load in enumerate(LOADS, start=1):
        # what is left is shared: the first load may not take the time of the second
        end_at = begun_at + TIME_S_MAX * position / len(LOADS)
        found += judge(takings[load.name], load.name, committed["ratios"][load.name], end_at)
    here, there = machine(), committed["machine"]
    if (here["cpu"], here["python"]) != (there["cpu"], there["python"]):
        print(
            f"bounds are of {there['cpu']}, Python {there['python']}; "
            f"this is {here['cpu']}, Python {here['python']}"
        )
    for each in found:
        if (each.noisy or each.disturbed) and not each.risen:
            print(
                f"NOT JUDGED closely: {each.load}, {each.process}: others took "
                f"{each.others_cores:.1f} cores, and rounds lay {100 * spread(each.ratios):.0f} % "
                f"apart; {each.ratio / each.committed - 1:+.0%} says little of a small rise"
            )
    risen = [each for each in found if each.risen]
    for each in risen:
        print(f"FAILED: {each.failure()}")
    took_s = time.monotonic() - begun_at
    print(f"{'costs rose' if risen else 'costs are within bounds'}; {took_s:.0f} s")
    return 1 if risen else 0


def commit(takings: dict[str, Rounds]) -> None:
    """Writes what is measured now."""
    ratios: dict[str, dict[str, float]] = {}
    for name, taking in takings.items():
        rounds = taking.take(BOUNDS_ROUNDS)
        ratios[name] = {
            process: median(each.ratios[process] for each in rounds)
            for process in rounds[0].costs_us
        }
        print(f"{name}: {ratios[name]}, of {BOUNDS_ROUNDS} rounds; {SLACK:.0%} more is let pass")
    write_bounds(machine(), ratios)


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=__doc__)
    parser.add_argument("--set", action="store_true", help="commit to what is measured now")
    parser.add_argument(
        "--plant",
        type=Plant.read,
        metavar="PROGRAM:PLACE:MICROSECONDS",
        help="slow frontend:chat, frontend:token or workers:chat down",
    )
    arguments = parser.parse_args()
    # whoever ends this ends what it started, too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun_at = time.monotonic()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        folder = Path(directory)
        sides = start_systems(stack, folder, arguments.plant)
        corpus = Corpus(MODEL_DIR)
        takings = {
            load.name: Rounds(load, sides[load.name], load.write(corpus, folder)) for load in LOADS
        }
        if arguments.set:
            commit(takings)
            return 0
        return guard(takings, begun_at)


if __name__ == "__main__":
    sys.exit(main())
