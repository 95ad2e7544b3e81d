"""Looks for requests that stop the loop or take memory: `python -m tests.security.fuzz [SECONDS]
[SEED]`, or `make fuzz`.

A finding is told with its seed; the same seed is the same request.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests.security.inflated import CAP_BYTES, attack
from tests.security.probed_fleet import ProbedFleet


def main() -> int:
    """Look for so many seconds; the number of findings is the exit code."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    findings, worst, tried, until = 0, 0.0, 0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as directory:
        target = ProbedFleet(Path(directory))
        try:
            while time.monotonic() < until:
                one = attack(seed, bytes_max=CAP_BYTES - 1)
                measured = target.send(one)
                # a machine may be busy with other things once
                if measured.is_finding and (again := target.send(one)).is_finding:
                    findings += 1
                    print(f"seed {seed} {one.path} {one.about}: {again}", flush=True)
                worst, tried, seed = max(worst, measured.own_pause_s), tried + 1, seed + 1
            print(
                f"{tried} requests up to seed {seed - 1}: {findings} findings; the loop's "
                f"own longest pause {worst * 1000:.0f} ms"
            )
        finally:
            target.stop()
    return min(findings, 100)


if __name__ == "__main__":
    raise SystemExit(main())
