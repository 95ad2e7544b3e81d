"""Eight choices of one request against eight requests, on real SGLang, in turns.

    python -m bench.sglang.choices [--rounds 6]

Fresh prompts of 1,000 tokens each round, 32 tokens out. Writes bench/results/choices.json.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from openai import AsyncOpenAI

from bench.kit.usage import cpu_s
from bench.sglang.bare import prompt_of
from bench.sglang.through_the_mesh import Mesh, turns
from workers.demo_model import demo_model_dir

CHOICES = 8
PROMPT_TOKENS, OUTPUT_TOKENS = 1_000, 32
RESULT = Path(__file__).parents[1] / "results" / "choices.json"

Ask = Callable[[list[int], int], Awaitable[tuple[int, int]]]


async def _one(client: AsyncOpenAI, prompt: list[int], n: int) -> tuple[int, int]:
    """Prompt tokens that had to be computed, and tokens generated."""
    answer = await client.completions.create(
        model=demo_model_dir().name,
        prompt=prompt,
        n=n,
        max_tokens=OUTPUT_TOKENS,
        temperature=1.0,
        extra_body={"ignore_eos": True},
    )
    usage = answer.usage
    assert usage is not None
    details = usage.prompt_tokens_details
    cached = 0 if details is None else details.cached_tokens or 0
    return usage.prompt_tokens - cached, usage.completion_tokens


async def _together(client: AsyncOpenAI, prompt: list[int]) -> tuple[int, int]:
    return await _one(client, prompt, CHOICES)


async def _singly(client: AsyncOpenAI, prompt: list[int]) -> tuple[int, int]:
    answers = await asyncio.gather(*(_one(client, prompt, 1) for _ in range(CHOICES)))
    return sum(computed for computed, _ in answers), sum(tokens for _, tokens in answers)


async def _measure(mesh: Mesh, rounds: int) -> dict[str, Any]:
    client = AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key="none", max_retries=0)
    ways = {"one request of 8 choices": _together, "eight requests": _singly}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    random = Random(7)
    for name, number in turns(ways, rounds):
        prompt = prompt_of(random, PROMPT_TOKENS)
        frontend, worker = cpu_s(mesh.frontend.pid), cpu_s(mesh.worker.pid)
        begun_s = time.perf_counter()
        computed, tokens = await ways[name](client, prompt)
        row = {
            "wall_ms": (time.perf_counter() - begun_s) * 1000,
            "prompt_tokens_computed": computed,
            "tokens": tokens,
        }
        row["frontend_cpu_ms"] = (cpu_s(mesh.frontend.pid) - frontend) * 1000
        row["worker_cpu_ms"] = (cpu_s(mesh.worker.pid) - worker) * 1000
        if number:
            measured[name].append(row)
    await client.close()
    return {
        name: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        | {"rounds": rows}
        for name, rows in measured.items()
    }


def main() -> None:
    """Take turns, print and write medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    rounds = parser.parse_args().rounds
    bodies = RESULT.parent / "local" / "choices_bodies.jsonl"
    bodies.parent.mkdir(parents=True, exist_ok=True)
    mesh = Mesh(bodies)
    try:
        results = asyncio.run(_measure(mesh, rounds))
    finally:
        mesh.stop()
    for name, result in results.items():
        print(
            name,
            {key: round(value, 1) for key, value in result.items() if key != "rounds"},
            flush=True,
        )
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
