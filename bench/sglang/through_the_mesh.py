"""Real SGLang bare and through the mesh, in turns, on the same load.

    python -m bench.sglang.through_the_mesh [--rounds 4]

Both engines are up at once and take turns; an idle one sleeps. Writes
bench/results/real_sglang.json.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Protocol

from bench.kit.load import run_load
from bench.kit.workloads import LOCAL
from bench.sglang.bare import prompt_of
from starter.fleet import Fleet
from starter.responder import Responder
from workers.demo_model import demo_model_dir

CASES = ((1, 6, 64, 64), (16, 64, 64, 64), (128, 256, 64, 32), (64, 64, 600, 16))
"""Concurrency, requests, input tokens, output tokens."""

READY_S_MAX = 240.0
RESULT = Path(__file__).parents[1] / "results" / "real_sglang.json"


class System(Protocol):
    """A System is one that can be asked for a round of a load."""

    def run(self, case: tuple[int, ...], seed: int) -> dict[str, float]:
        """Returns what a round of that case gave: prompts of the same seed are the same."""
        ...


class Bare:
    """SGLang's engine without kvmesh."""

    def __init__(self) -> None:
        self._responder = Responder(
            [sys.executable, "-m", "bench.sglang.bare", demo_model_dir()],
            log=LOCAL / "logs" / "bare_sglang.log",
        )
        self._answered(self._responder.answer())

    def run(self, case: tuple[int, ...], seed: int) -> dict[str, float]:
        """One round; the engine seeds its own prompts."""
        del seed
        return self._answered(self._responder.ask(" ".join(map(str, case))))

    def stop(self) -> None:
        self._responder.close()

    def _answered(self, line: str) -> dict[str, float]:
        """SGLang writes lines of its own among the answers."""
        while not line.startswith("{"):
            line = self._responder.answer()
        return json.loads(line)


class Mesh:
    """A frontend and a worker with the same engine arguments, or some more."""

    def __init__(self, bodies: Path, *arguments: str, folder: str = "through_the_mesh") -> None:
        self._fleet = Fleet(LOCAL / folder)
        self.frontend = self._fleet.frontend()
        self.worker = self._fleet.worker("--model-path", str(demo_model_dir()), *arguments)
        self._bodies = bodies
        try:
            self._fleet.wait_for_workers(1, wait_s_max=READY_S_MAX)
        except BaseException:
            self.stop()
            raise

    @property
    def url(self) -> str:
        return self._fleet.url

    def run(self, case: tuple[int, ...], seed: int) -> dict[str, float]:
        """One round through HTTP."""
        concurrency, requests, input_tokens, output_tokens = case
        random = Random(seed)
        fixed: dict[str, Any] = {
            "model": demo_model_dir().name,
            "max_tokens": output_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        fixed |= {"stream": True, "stream_options": {"include_usage": True}}
        self._bodies.write_text(
            "".join(
                json.dumps(fixed | {"prompt": prompt_of(random, input_tokens)}) + "\n"
                for _ in range(requests)
            )
        )
        result = run_load(
            self._fleet.http_port,
            self._bodies,
            concurrency=concurrency,
            requests=requests,
            path="/v1/completions",
        )
        return {"tokens_per_s": result["tokens_per_s"], "ttft_p50_ms": result["ttft_ms"]["p50"]}

    def stop(self) -> None:
        self._fleet.stop(wait_s_max=60)


def turns(names: Iterable[str], rounds: int) -> Iterator[tuple[str, int]]:
    """Yields who is next, and in which round: all in each, in one order and then in the other; the
    round 0, one more than asked for, warms them up.
    """
    for number in range(rounds + 1):
        for name in sorted(names, reverse=bool(number % 2)):
            yield name, number


def in_turns(
    systems: Mapping[str, System], cases: Sequence[tuple[int, ...]], rounds: int
) -> dict[str, Any]:
    """Returns and prints what each system gave in each case, medians and rounds."""
    results: dict[str, Any] = {}
    for case in cases:
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
        for name, number in turns(systems, rounds):
            result = systems[name].run(case, seed=1_000 + number)
            if number:
                measured[name].append(result)
        title = f"{case[0]} together, {case[2]:,} tokens in, {case[3]} out"
        medians = {
            name: {key: statistics.median(result[key] for result in rows) for key in rows[0]}
            for name, rows in measured.items()
        }
        for name, told in medians.items():
            print(title, name, {key: round(value, 1) for key, value in told.items()}, flush=True)
        results[title] = {name: medians[name] | {"rounds": measured[name]} for name in systems}
    return results


def main() -> None:
    """Take turns, print and write medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    bodies = LOCAL / "real_sglang_bodies.jsonl"
    LOCAL.mkdir(parents=True, exist_ok=True)
    systems: dict[str, Bare | Mesh] = {"bare": Bare(), "mesh": Mesh(bodies)}
    try:
        results = in_turns(systems, CASES, rounds)
    finally:
        for system in systems.values():
            system.stop()
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
