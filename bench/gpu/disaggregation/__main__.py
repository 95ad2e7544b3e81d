"""`python -m bench.gpu.disaggregation --out FILE`: on one GPU, in some eight minutes; `--what`
chooses parts.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.gpu.cases import Case
from bench.gpu.disaggregation.checks import cancelling, equality, freed
from bench.gpu.disaggregation.leaving import drained, faults, frozen, read
from bench.gpu.disaggregation.placing import up
from bench.gpu.disaggregation.ranks import RANKS, ranks_plan
from bench.gpu.fleet import ENGINE, FAST_BEATS, NIXL, SIM, WORKERS, GpuFleet, Plan, start
from bench.gpu.measure import measure, warm_up
from bench.gpu.model import make_model_dir
from bench.gpu.three_way import gpus_here
from bench.kit.load import LoadFailed
from bench.kit.workloads import LOCAL, Corpus

SCRATCH: Final = LOCAL / "gpu-legs"
COMPARED: Final = ("whole-1", "whole-2", "pair")

CHECKS: Final[Mapping[str, Callable[[GpuFleet, int], Any]]] = {
    "equality": equality,
    "cancelling": cancelling,
    "freed": freed,
    "read": read,
    "frozen": frozen,
    "faults": faults,
    "drained": drained,
}
PARTS: Final = ("equality", "cancelling", "worth", "faults")
"""What is done unless told otherwise; `drained` and `faults` each end a worker of both stages.
`ranks` and `up` have workers of their own, and come last.
"""

CASES: Final = [
    Case(name="alone-64", concurrency=1, requests=8, input_tokens=64, output_tokens=32),
    Case(name="alone-512", concurrency=1, requests=8, input_tokens=512, output_tokens=32),
    Case(name="alone-2k", concurrency=1, requests=8, input_tokens=2_048, output_tokens=32),
    Case(name="alone-8k", concurrency=1, requests=8, input_tokens=8_192, output_tokens=32),
    Case(name="short", concurrency=64, requests=256, input_tokens=256, output_tokens=128),
    Case(name="long", concurrency=16, requests=64, input_tokens=4_096, output_tokens=128),
]
TWO_GPUS: Final = {"w1": 0, "w2": 1, "p1": 0, "d1": 1, "p2": 0, "d2": 1}
"""Worker → its GPU where there are two: each view has them all, but for one whole worker."""

TOLD: Final = ("ok", "not_ok", "tokens_per_s", "ttft_p50_ms", "ttft_p99_ms", "gap_p50_ms")


@dataclass
class Run:
    """A Run is what was asked for and what came of it so far."""

    args: argparse.Namespace
    report: dict[str, Any]
    began: float = field(default_factory=time.monotonic)

    @property
    def engine(self) -> str | None:
        """Arguments of simulated engines, if those were asked for."""
        return SIM if self.args.sim else None

    def save(self) -> None:
        """Writes the report."""
        self.report["seconds"] = round(time.monotonic() - self.began, 1)
        self.args.out.write_text(json.dumps(self.report, indent=1) + "\n")

    def do(self, part: str, check: Callable[[], Any]) -> None:
        """One part; what it fails of becomes its result, since the others are worth having."""
        try:
            self.report[part] = check()
        except Exception as error:  # noqa: BLE001
            self.report[part] = {"failed": str(error) or repr(error)}
        self.save()
        print(part, self.report["seconds"], json.dumps(self.report[part]), flush=True)

    def start(self, stack: ExitStack, name: str, plan: Plan) -> GpuFleet:
        """Starts a fleet, and tells how long that took."""
        began = time.monotonic()
        fleet = start(stack, SCRATCH / name, self.args.start_seconds_max, plan)
        self.report.setdefault("start_s", {})[name] = round(time.monotonic() - began, 1)
        print(name, "started", self.report["start_s"], flush=True)
        return fleet


def worth(fleet: GpuFleet, run: Run) -> dict[str, Any]:
    """The same load on one worker, on two, and on a pair, in turns."""
    corpus = Corpus(SCRATCH / "model")
    found: dict[str, Any] = run.report.setdefault("worth", {})
    for case in CASES:
        by_view: dict[str, list[Any]] = {view: [] for view in COMPARED}
        for index in range(-1, run.args.rounds):
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
        found[case.title] = by_view
        run.save()
    return found


def on_the_fleet(run: Run, parts: Sequence[str], model: Path) -> str:
    """Does the parts that share whole, prefill and decode workers."""
    plan = Plan(
        model,
        run.engine or ENGINE,
        legs="" if run.engine else NIXL,
        placed=TWO_GPUS if run.args.gpus == 2 else {},
        program=FAST_BEATS if run.args.fast_beats else WORKERS,
    )
    with ExitStack() as stack:
        fleet = run.start(stack, "fleet", plan)
        for part in parts:
            if part == "worth":
                run.do(part, partial(worth, fleet, run))
            else:
                run.do(part, partial(CHECKS[part], fleet, run.args.seed))
    return "ended"


def two_ranks(run: Run) -> str:
    """Does the parts whose workers have two ranks."""
    plan = ranks_plan(sim=run.engine, fast_beats=run.args.fast_beats)
    with ExitStack() as stack:
        fleet = run.start(stack, "ranks", plan)
        for part, check in RANKS.items():
            run.do(f"ranks_{part}", partial(check, fleet, run.args.seed))
    return "ended"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the result, JSON")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start-seconds-max", type=float, default=300)
    parser.add_argument("--what", default=",".join(PARTS), help="the parts, in this order")
    parser.add_argument(
        "--gpus", type=int, choices=(1, 2), default=1, help="two: a GPU for each leg"
    )
    parser.add_argument("--sim", action="store_true", help="simulated engines, without a GPU")
    parser.add_argument(
        "--fast-beats", action="store_true", help="workers tell their load fifty times a second"
    )
    run = Run(parser.parse_args(), {})
    run.report |= {"gpus": gpus_here(), "seed": run.args.seed}
    asked = run.args.what.split(",")
    model = make_model_dir(SCRATCH / "model")
    alone: dict[str, Callable[[], Any]] = {
        "ranks": partial(two_ranks, run),
        "up": partial(up, SCRATCH),
    }
    if unknown := set(asked) - {"worth", *CHECKS, *alone}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    if together := [part for part in asked if part not in alone]:
        run.do("fleet", partial(on_the_fleet, run, together, model))
    for part in asked:
        if part in alone:
            run.do(part, alone[part])


if __name__ == "__main__":
    main()
