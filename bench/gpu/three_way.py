"""kvmesh, SGLang's own server and Dynamo on one GPU, or kvmesh, SGLang's gateway and Dynamo on
two: the same engines, the same load, in turns.

    python -m bench.gpu.three_way --out FILE [--systems kvmesh,sglang] [--cases 64,256] [--rounds 3]
    [--gpus 2]

Engines start one after the other, since each measures the memory that is free. A system that fails
is left out, and the others go on. FILE is whole after every turn, so that a run that is cut off
keeps what it has. With --keep the systems stay up, and the next call goes on with them, without
starts and warm-up; a call without --keep ends them.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from bench.compare.systems import machine
from bench.gpu.bench_serving import BACKENDS, bench_serving
from bench.gpu.cases import cases_named
from bench.gpu.kept import end_all, note, noted
from bench.gpu.model import make_model_dir
from bench.gpu.systems import ENGINE_ARGS, MEMORY_FRACTIONS, Setup, default_systems, starter_of
from bench.gpu.turns import Report, Turns
from bench.gpu.verdict import medians, table
from bench.kit.loadgen.build import build
from bench.kit.running import Running, Starting
from bench.kit.workloads import LOCAL, Corpus

SCRATCH = LOCAL / "gpu"
STILL_RUNNING = SCRATCH / "running.json"
BENCH_SERVING_S = 45
"""Set aside for one of its runs: half of it is its own start."""
TO_END_S = 25
"""Between --seconds-max and the moment at which everything is ended, whatever it does."""


def gpus_here() -> list[str]:
    """Their names; none where there is no driver."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.partition(" (")[0] for line in done.stdout.splitlines() if line]


def start_all(
    names: Sequence[str], setup: Setup, stack: ExitStack, report: Report, start_seconds_max: float
) -> list[Running]:
    """Those of the systems that came up.

    What a failed one had started is ended before the next one measures memory.
    """
    running: list[Running] = []
    for name, memory_fraction in zip(names, MEMORY_FRACTIONS, strict=False):
        began = time.monotonic()
        own = ExitStack()
        stack.callback(own.close)
        try:
            starting = Starting(own, SCRATCH / "logs", start_seconds_max)
            started = starter_of(name, setup)(setup, starting, memory_fraction, name)
        except (RuntimeError, OSError) as error:
            own.close()
            report.fail(f"start of {name}: {error}")
            continue
        running += started
        report.facts["start_s"][name] = round(time.monotonic() - began, 1)
        print(f"{name} started in {report.facts['start_s'][name]} s", flush=True)
        report.save()
    return running


def serve_bench(
    running: Sequence[Running], setup: Setup, report: Report, prompts: int, lengths: tuple[int, int]
) -> None:
    """bench_serving against every frontend of kvmesh."""
    for system in (each for each in running if each.name.startswith("kvmesh")):
        for backend in BACKENDS:
            try:
                found = bench_serving(
                    system,
                    backend,
                    model_path=setup.model_path,
                    prompts=prompts,
                    lengths=lengths,
                    scratch=SCRATCH,
                )
            except RuntimeError as error:
                report.fail(str(error))
                continue
            report.facts["bench_serving"][f"{system.name} {backend}"] = found
            print("bench_serving", system.name, backend, json.dumps(found), flush=True)
            report.save()


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    return dict(text.split("=", 1) for text in texts)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the result, JSON")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument(
        "--systems",
        default="",
        help="comma-separated: kvmesh, sglang, dynamo, gateway, or the name of a --checkout",
    )
    parser.add_argument(
        "--cases", default="", help="comma-separated names; bench/gpu/cases.py has them"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="of the prompts; another call over --keep needs another one",
    )
    parser.add_argument(
        "--seconds-max",
        type=float,
        default=550,
        help="no round is begun that may not be over by then",
    )
    parser.add_argument("--start-seconds-max", type=float, default=200, help="of one system")
    parser.add_argument(
        "--frontend-args",
        "--kvmesh-frontend-args",
        default="",
        help="of kvmesh's frontend, in one text",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=ARGS",
        help="one more frontend over kvmesh's workers",
    )
    parser.add_argument(
        "--checkout",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="another kvmesh; NAME begins with kvmesh",
    )
    parser.add_argument("--engine-args", default=ENGINE_ARGS)
    parser.add_argument("--model-path", type=Path, help="a model instead of the made-up one")
    parser.add_argument(
        "--bench-serving",
        type=int,
        default=0,
        metavar="PROMPTS",
        help="SGLang's bench_serving against kvmesh, at the end",
    )
    parser.add_argument("--bench-serving-lengths", default="1024,128", help="tokens in and out")
    parser.add_argument(
        "--keep", action="store_true", help="leave the systems running for the next call"
    )
    return parser.parse_args(argv)


def setup_of(options: argparse.Namespace) -> Setup:
    return Setup(
        model_path=options.model_path.resolve()
        if options.model_path
        else make_model_dir(SCRATCH / "model"),
        engine_args=shlex.split(options.engine_args),
        scratch=SCRATCH,
        gpus=options.gpus,
        frontend_args=shlex.split(options.frontend_args),
        variants={name: shlex.split(args) for name, args in _pairs(options.variant).items()},
        checkouts={
            name: Path(folder).resolve() for name, folder in _pairs(options.checkout).items()
        },
    )


def end_by_signal(number: int, _frame: Any) -> NoReturn:
    raise SystemExit(f"ended by {signal.Signals(number).name}")


def main(argv: Sequence[str] | None = None) -> None:
    """Start, warm up, take turns, write, print, end."""
    options, began = parse(argv), time.monotonic()
    names = [name for name in (options.systems or default_systems(options.gpus)).split(",") if name]
    cases, setup = cases_named(options.cases, options.gpus), setup_of(options)
    if len(names) > len(MEMORY_FRACTIONS):
        raise SystemExit(f"no more than {len(MEMORY_FRACTIONS)} systems fit on a GPU")
    for name in names:
        starter_of(name, setup)  # an unknown one is told before minutes are spent
    build("loadgen")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, end_by_signal)
    signal.alarm(int(options.seconds_max) + TO_END_S)
    facts: dict[str, Any] = {
        "machine": machine(),
        "gpus": gpus_here(),
        "command": sys.argv[1:],
        "engine_args": options.engine_args,
    }
    report = Report(options.out, facts | {"start_s": {}, "bench_serving": {}})
    running = noted(STILL_RUNNING)
    with ExitStack() as stack:
        try:
            started_now = not running
            if started_now:
                running += start_all(names, setup, stack, report, options.start_seconds_max)
            turns = Turns(
                cases=cases,
                systems=running,
                corpus=Corpus(setup.model_path),
                report=report,
                scratch=SCRATCH,
            )
            if started_now:
                turns.warm_up()
            kvmeshes = sum(system.name.startswith("kvmesh") for system in running)
            set_aside_s = BENCH_SERVING_S * len(BACKENDS) * kvmeshes if options.bench_serving else 0
            turns.run(options.rounds, options.seed, began + options.seconds_max - set_aside_s)
            if options.bench_serving:
                tokens_in, _, tokens_out = options.bench_serving_lengths.partition(",")
                serve_bench(
                    running, setup, report, options.bench_serving, (int(tokens_in), int(tokens_out))
                )
            if options.keep:
                note(running, STILL_RUNNING)
                stack.pop_all()
                running = []
        finally:
            signal.alarm(0)
            report.facts["medians"] = medians(report.rounds)
            report.save()
            print(table(cases, report.facts["medians"]), *report.failures, sep="\n", flush=True)
            end_all(running)


if __name__ == "__main__":
    main()
