"""Real SGLang bare and through the mesh, in turns, on the same load.

    python -m bench.sglang.through_the_mesh [--rounds 4]

Both engines are up at once and take turns; an idle one sleeps. Writes
bench/results/real_sglang.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from bench.kit.load import run_load
from bench.kit.processes import free_port, http_ok, wait_until
from bench.sglang.bare import prompt_of
from workers.demo_model import demo_model_dir

CASES = ((1, 6, 64, 64), (16, 64, 64, 64), (128, 256, 64, 32), (64, 64, 600, 16))
"""Concurrency, requests, input tokens, output tokens."""

READY_S_MAX = 240.0
RESULT = Path(__file__).parents[1] / "results" / "real_sglang.json"


class Bare:
    """SGLang's engine without kvmesh."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "bench.sglang.bare", str(demo_model_dir())]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def run(self, case: tuple[int, ...], seed: int) -> dict[str, float]:
        """One round; the engine seeds its own prompts."""
        del seed
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, case)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        self.process.communicate("\n", timeout=60)

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("bare SGLang ended")


class Mesh:
    """A frontend and a worker with the same engine arguments."""

    def __init__(self, bodies: Path) -> None:
        self.port, mesh = free_port(), f"tcp://127.0.0.1:{free_port()}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        python = [sys.executable, "-m"]
        self.processes = [
            subprocess.Popen(
                [*python, "frontend", "--http-port", str(self.port), "--mesh-bind", mesh], **quiet
            ),
            subprocess.Popen(
                [*python, "workers", "--frontend", mesh, "--model-path", str(demo_model_dir())],
                **quiet,
            ),
        ]
        self._bodies = bodies
        wait_until(lambda: http_ok(f"http://127.0.0.1:{self.port}/ready"), "the mesh", READY_S_MAX)

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
            self.port,
            self._bodies,
            concurrency=concurrency,
            requests=requests,
            path="/v1/completions",
        )
        return {"tokens_per_s": result["tokens_per_s"], "ttft_p50_ms": result["ttft_ms"]["p50"]}

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            process.wait(60)


def main() -> None:
    """Take turns, print and write medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    bodies = RESULT.parent / "local" / "real_sglang_bodies.jsonl"
    bodies.parent.mkdir(parents=True, exist_ok=True)
    systems: dict[str, Bare | Mesh] = {"bare": Bare(), "mesh": Mesh(bodies)}
    results: dict[str, Any] = {}
    try:
        for case in CASES:
            measured: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
            for number in range(rounds + 1):
                for name in sorted(systems, reverse=bool(number % 2)):
                    result = systems[name].run(case, seed=1_000 + number)
                    if number:  # the first round warms up
                        measured[name].append(result)
            title = f"{case[0]} together, {case[2]} tokens in, {case[3]} out"
            results[title] = {
                name: {key: statistics.median(result[key] for result in rows) for key in rows[0]}
                | {"rounds": rows}
                for name, rows in measured.items()
            }
            for name in systems:
                print(
                    title,
                    name,
                    {
                        key: round(value, 1)
                        for key, value in results[title][name].items()
                        if key != "rounds"
                    },
                    flush=True,
                )
    finally:
        for system in systems.values():
            system.stop()
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
