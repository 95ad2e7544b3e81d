"""`python -m bench.scale [CURVE...]`: what kvmesh costs from little to much of something.

Curves: streams, prompts, workers (real sockets), ranks (the parts that need none), simulated (whole
fleets on a virtual clock). Each one replaces its part of bench/results/scale.json; the picture
beside it is drawn of all.
"""

import argparse
import json
import signal
import time
from pathlib import Path
from typing import Any, Final

from bench.compare.systems import machine
from bench.scale import prompts, ranks, simulated, streams, workers
from starter.process import REPO

CURVES: Final = {
    "ranks": ranks.curve,
    "simulated": simulated.curve,
    "prompts": prompts.curve,
    "streams": streams.curve,
    "workers": workers.curve,
}
RESULT: Final = REPO / "bench/results/scale.json"


def main() -> None:
    """Measures what is asked for, in a quarter of an hour if that is all."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=", ".join(CURVES))
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if unknown := set(arguments.curves) - set(CURVES):
        parser.error(f"no such curve: {', '.join(sorted(unknown))}")
    # whoever ends this ends what it started, too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    for name in (name for name in CURVES if name in (arguments.curves or CURVES)):
        begun_at = time.monotonic()
        points = CURVES[name]()
        found[name] = {
            "machine": machine(),
            "took_s": round(time.monotonic() - begun_at),
            "points": points,
        }
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    from bench.scale.plot import plot  # noqa: PLC0415 - matplotlib takes a second to import and is not needed to measure

    print(plot(arguments.out))


if __name__ == "__main__":
    main()
