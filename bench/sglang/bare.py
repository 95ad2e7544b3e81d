"""Bare SGLang for comparison: an engine in this process, driven through `async_generate`,
streaming, as its own users do.

    python -m bench.sglang.bare MODEL_DIR

For every line `CONCURRENCY REQUESTS INPUT_TOKENS OUTPUT_TOKENS` on standard input it prints one
JSON line with tokens and seconds.
"""

import asyncio
import itertools
import json
import sys
import time
from random import Random
from typing import Any

from workers.sglang.cpu import activate_if_cpu_host


def prompt_of(random: Random, tokens: int) -> list[int]:
    """Plain ids that every vocabulary has."""
    return [random.randrange(10, 1000) for _ in range(tokens)]


async def load(
    engine: Any, concurrency: int, requests: int, input_tokens: int, output_tokens: int, seed: int
) -> dict[str, float]:
    """Run the requests, `concurrency` at a time."""
    random = Random(seed)
    prompts = [prompt_of(random, input_tokens) for _ in range(requests)]
    sampling = {"max_new_tokens": output_tokens, "temperature": 0, "ignore_eos": True}
    left = iter(prompts)
    first_token_s: list[float] = []

    async def client() -> None:
        for prompt in left:
            sent_at = time.perf_counter()
            chunks = await engine.async_generate(
                input_ids=prompt, sampling_params=sampling, stream=True
            )
            for number in itertools.count():
                try:
                    await anext(chunks)
                except StopAsyncIteration:
                    break
                if number == 0:
                    first_token_s.append(time.perf_counter() - sent_at)

    started_at = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    wall_s = time.perf_counter() - started_at
    ttft_p50_ms = sorted(first_token_s)[len(first_token_s) // 2] * 1000
    return {"tokens_per_s": requests * output_tokens / wall_s, "ttft_p50_ms": ttft_p50_ms}


async def serve_lines(engine: Any) -> None:
    """Answer one line after the other."""
    for number in itertools.count():
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line.strip():
            return
        concurrency, requests, input_tokens, output_tokens = (int(part) for part in line.split())
        result = await load(engine, concurrency, requests, input_tokens, output_tokens, seed=number)
        print(json.dumps(result), flush=True)


def main() -> None:
    """Start the engine with the arguments that a worker would give it."""
    cpu = activate_if_cpu_host()
    import sglang  # noqa: PLC0415 - after the stand-ins

    from workers.sglang.arguments import parse_server_args  # noqa: PLC0415

    engine = sglang.Engine(
        server_args=parse_server_args(
            ["--model-path", sys.argv[1], "--log-level", "error"], cpu=cpu, kv_events=True
        )
    )
    print(json.dumps({"ready": True}), flush=True)
    try:
        engine.loop.run_until_complete(serve_lines(engine))
    finally:
        engine.shutdown()


if __name__ == "__main__":
    main()
