"""`python -m bench.gpu.disaggregation --out FILE`: on one GPU, in some eight minutes; `--what`
chooses parts.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.gpu.cases import Case
from bench.gpu.disaggregation.checks import cancelling, equality, faults, freed
from bench.gpu.disaggregation.fleet import LegsFleet, start
from bench.gpu.disaggregation.leaving import drained, frozen, read
from bench.gpu.disaggregation.placing import up
from bench.gpu.measure import measure, warm_up
from bench.gpu.three_way import gpus_here
from bench.kit.load import LoadFailed
from bench.kit.workloads import LOCAL, Corpus

SCRATCH: Final = LOCAL / "gpu-legs"
COMPARED: Final = ("whole-1", "whole-2", "pair")

CHECKS: Final[Mapping[str, Callable[[LegsFleet, int], Any]]] = {
    "equality": equality,
    "cancelling": cancelling,
    "freed": freed,
    "read": read,
    "frozen": frozen,
    "faults": faults,
    "drained": drained,
}
PARTS: Final = ("equality", "cancelling", "worth", "faults")
"""What is done unless told otherwise; `drained` and `faults` each end a worker of both stages."""

CASES: Final = [
    Case(name="alone-64", concurrency=1, requests=8, input_tokens=64, output_tokens=32),
    Case(name="alone-512", concurrency=1, requests=8, input_tokens=512, output_tokens=32),
    Case(name="alone-2k", concurrency=1, requests=8, input_tokens=2_048, output_tokens=32),
    Case(name="alone-8k", concurrency=1, requests=8, input_tokens=8_192, output_tokens=32),
    Case(name="short", concurrency=64, requests=256, input_tokens=256, output_tokens=128),
    Case(name="long", concurrency=16, requests=64, input_tokens=4_096, output_tokens=128),
]
TOLD: Final = ("ok", "not_ok", "tokens_per_s", "ttft_p50_ms", "ttft_p99_ms", "gap_p50_ms")


def worth(fleet: LegsFleet, rounds: int, report: dict[str, Any], save: Any) -> None:
    """The same load on one worker, on two, and on a pair, in turns."""
    corpus = Corpus(SCRATCH / "model")
    for case in CASES:
        by_view: dict[str, list[Any]] = {view: [] for view in COMPARED}
        for index in range(-1, rounds):
            bodies = SCRATCH / f"{case.name}-{index}.jsonl"
            made = case.warm_up(corpus, 7) if index < 0 else case.bodies(corpus, 100 + index)
            bodies.write_text("".join(json.dumps(body) + "\n" for body in made))
            for view in COMPARED[index % 3 :] + COMPARED[: index % 3]:
                running = fleet.running(view)
                try:
                    if index < 0:
                        warm_up(running, case, bodies)
                        continue
                    measured = measure(running, case, bodies)
                except LoadFailed as error:
                    measured = {"failed": str(error)}
                by_view[view].append(measured)
                print(case.title, view, {key: measured.get(key) for key in TOLD}, flush=True)
        report["worth"][case.title] = by_view
        save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the result, JSON")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-seconds-max", type=float, default=300)
    parser.add_argument("--what", default=",".join(PARTS), help="the parts, in this order")
    parser.add_argument("--up", action="store_true", help="also `kvmesh up`, at the end")
    parser.add_argument(
        "--fast-beats", action="store_true", help="workers tell their load fifty times a second"
    )
    args = parser.parse_args()
    report: dict[str, Any] = {"gpus": gpus_here(), "worth": {}, "seed": args.seed}

    def save() -> None:
        args.out.write_text(json.dumps(report, indent=1) + "\n")

    began = time.monotonic()
    with ExitStack() as stack:
        fleet = start(stack, SCRATCH, args.start_seconds_max, fast_beats=args.fast_beats)
        report["start_s"] = round(time.monotonic() - began, 1)
        print("started in", report["start_s"], flush=True)
        for part in args.what.split(","):
            if part == "worth":
                worth(fleet, args.rounds, report, save)
                continue
            try:
                report[part] = CHECKS[part](fleet, args.seed)
            # the other parts are worth having
            except Exception as error:  # noqa: BLE001
                report[part] = {"failed": repr(error)}
            report["seconds"] = round(time.monotonic() - began, 1)
            print(part, report["seconds"], json.dumps(report[part]), flush=True)
            save()
    if args.up:
        report["up"] = up(SCRATCH)
        print("up", json.dumps(report["up"]), flush=True)
        save()


if __name__ == "__main__":
    main()
