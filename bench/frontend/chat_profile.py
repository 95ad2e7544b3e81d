"""Where the microseconds of a chat go in a frontend.

    python -m bench.frontend.chat_profile --checkout before=FOLDER --python 3.14=PROGRAM

A frontend of this checkout, of others and under other Pythons, each with a simulated worker
without limit, take turns under 64 chats of 128 tokens with one token out. The CPU of their
processes is counted while nobody looks; then a sampling profiler (py-spy, installed at first use)
looks at each from outside, and its samples divide what was counted. It stops a process at its
system calls more often than elsewhere, so that writes look dearer than they are: `perf record -e
cpu-clock` tells them (docs/decisions/0055). Writes bench/results/chat_profile.json and a picture
beside it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.compare.systems import machine
from bench.compare.tables import CHAT
from bench.frontend.profile_parts import OTHER_THREADS, shares
from bench.frontend.profile_picture import draw
from bench.kit.load import run_load
from bench.kit.running import Running, Starting, chat_ok
from bench.kit.usage import TICKS_PER_S
from bench.kit.workloads import LOCAL, MODEL_NAME, Corpus, ensure_model_dir, fresh, write_bodies
from bench.peers.install import ensure
from starter.addresses import Addresses, worker_command
from starter.process import REPO

RESULT: Final = REPO / "bench/results/chat_profile.json"
OURS: Final = "kvmesh"
CONCURRENCY: Final = 64
BODIES: Final = 4_000
SAMPLES_A_S: Final = 200
"""Counts looks of the profiler in a second; each stops the process for a moment."""


@dataclass(frozen=True)
class Candidate:
    """Code of kvmesh, and the Python that runs its frontend."""

    name: str
    checkout: Path = REPO
    python: str = sys.executable


def started(candidate: Candidate, starting: Starting, model_dir: Path, level: str) -> Running:
    """Returns a frontend of that kind with its worker, once it answers."""
    name, checkout = candidate.name, candidate.checkout
    addresses, env = Addresses(), {"PYTHONPATH": str(checkout)}
    _, *arguments = addresses.frontend_command(
        *("--cache-dir", str(LOCAL / "kvmesh-cache"), "--log-level", level)
    )
    frontend = starting.process(name, [candidate.python, *arguments], env, checkout)
    worker = starting.process(
        f"{name}-worker",
        worker_command(
            [addresses.mesh],
            *("--engine", "sim", "--sim-speedup", "0", "--log-level", "warning"),
            *("--model-path", str(model_dir), "--served-model-name", MODEL_NAME),
            *("--max-total-tokens", "524288", "--page-size", "64"),
        ),
        env,
        checkout,
    )
    starting.wait(name, [frontend, worker], lambda: chat_ok(addresses.http_port))
    return Running(name, addresses.http_port, frontend.pid, [worker.pid])


def cpu_s(pid: int) -> float:
    """Returns the CPU seconds of a process so far, to a microsecond."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid(3) makes it


def loop_ticks(pid: int) -> int:
    """Returns the CPU time of a process's first thread, its loop's, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def measured(running: Running, bodies: Path, chats: int) -> dict[str, float]:
    """Returns what one turn took of a frontend."""
    ticks, before = loop_ticks(running.frontend), cpu_s(running.frontend)
    result = run_load(running.port, bodies, concurrency=CONCURRENCY, requests=chats)
    after = cpu_s(running.frontend)
    return {
        "cpu_us": 1e6 * (after - before) / result["ok"],
        "loop_us": 1e6 * (loop_ticks(running.frontend) - ticks) / TICKS_PER_S / result["ok"],
        "e2e_p50_ms": result["e2e_ms"]["p50"],
    }


def sampled(running: Running, bodies: Path, seconds: int, folder: Path) -> dict[str, float]:
    """Returns the share of each part in what the profiler sees of a frontend under load."""
    raw = folder / f"{running.name}.raw"
    look = [str(ensure("py_spy").with_name("py-spy")), "record", "--pid", str(running.frontend)]
    look += ["--duration", str(seconds), "--rate", str(SAMPLES_A_S), "--format", "raw"]
    with subprocess.Popen(
        [*look, "--full-filenames", "--output", str(raw)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as looking:
        while looking.poll() is None:
            run_load(running.port, bodies, concurrency=CONCURRENCY, duration_s=1.0)
    return shares(raw.read_text().splitlines())


def profile(
    candidates: Sequence[Candidate], *, rounds: int, chats: int, seconds: int, level: str
) -> dict[str, Any]:
    """Returns what each candidate's frontend takes, in all and, where it is looked at, by part."""
    model_dir = ensure_model_dir()
    bodies = write_bodies(fresh(Corpus(model_dir), CHAT, BODIES, 1), LOCAL / "profile.jsonl")
    with ExitStack() as stack:
        starting = Starting(stack, LOCAL / "logs")
        systems = [started(each, starting, model_dir, level) for each in candidates]
        for each in systems:
            run_load(each.port, bodies, concurrency=CONCURRENCY, requests=1_000)
        turns: dict[str, list[dict[str, float]]] = {each.name: [] for each in systems}
        for index in range(rounds):
            for each in systems if index % 2 else reversed(systems):
                turns[each.name].append(measured(each, bodies, chats))
        seen = {each.name: sampled(each, bodies, seconds, LOCAL) for each in systems if seconds}
    result: dict[str, Any] = {}
    for name, taken in turns.items():
        median = {key: statistics.median([one[key] for one in taken]) for key in taken[0]}
        # of all turns together, since ticks are long
        in_loop = sum(one["loop_us"] for one in taken) / sum(one["cpu_us"] for one in taken)
        loop_us = median["loop_us"] = median["cpu_us"] * min(1.0, in_loop)
        parts = {part: share * loop_us for part, share in seen.get(name, {}).items()}
        parts[OTHER_THREADS] = median["cpu_us"] - loop_us
        result[name] = {
            "median": {key: round(value, 3) for key, value in median.items()},
            "least_cpu_us": round(min(one["cpu_us"] for one in taken), 1),
            "parts_us": {part: round(us, 1) for part, us in sorted(parts.items())},
        }
    first = next(iter(turns.values()))
    for name, taken in turns.items():
        ratios = [one["cpu_us"] / other["cpu_us"] for one, other in zip(taken, first, strict=True)]
        result[name]["ratio"] = round(statistics.median(ratios), 3)
    return {"machine": machine(), "rounds": rounds, "chats": chats, "level": level} | {
        "systems": result
    }


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        *("--checkout", "-c"), action="append", default=[], metavar="NAME=FOLDER", help="another"
    )
    parser.add_argument(
        *("--python", "-p"), action="append", default=[], metavar="NAME=PROGRAM", help="another"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--chats", type=int, default=1_000, help="of each turn")
    parser.add_argument("--seconds", type=int, default=10, help="that each is looked at, or 0")
    parser.add_argument("--log-level", default="info", help="of the frontends")
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    candidates = [Candidate(name, Path(folder)) for name, folder in map(_pair, asked.checkout)]
    candidates += [Candidate(name, python=each) for name, each in map(_pair, asked.python)]
    result = profile(
        [*candidates, Candidate(OURS)],
        rounds=asked.rounds,
        chats=asked.chats,
        seconds=asked.seconds,
        level=asked.log_level,
    )
    asked.out.write_text(json.dumps(result, indent=1) + "\n")
    print(asked.out, draw(asked.out) if asked.seconds else "")


if __name__ == "__main__":
    main()
