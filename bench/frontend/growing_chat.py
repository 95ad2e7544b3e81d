"""`python -m bench.frontend.growing_chat`: what tokenizing costs while a chat grows to 32k tokens,
with the cache of earlier text and without.

Each turn adds about a thousand tokens of new text and is tokenized as the frontend does it, the hop
to a thread included. Cached and whole take turns, a different one first each time. CPU counts all
threads. Half a minute; nothing is written.
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from random import Random

from frontend.text.tokenizing.inspection import inspect_in_child
from frontend.text.tokenizing.segment_cache import SegmentCache
from frontend.text.tokenizing.tokenizer import Tokenizer
from workers.demo_model import demo_model_dir

TOKENS_MAX = 32_768
MARKS = "<|im_start|><|im_end|>"
SHORT_CHARS = 600
"""A chat of about 128 tokens."""


def turns(random: Random) -> list[str]:
    """Rendered prompts of one chat, each a beginning of the next."""
    words = ["".join(random.choices("etaoinshrdlu", k=random.randint(2, 9))) for _ in range(4_000)]
    chat = ""
    prompts: list[str] = []
    for _ in range(TOKENS_MAX // 1_000):
        chat += (
            "<|im_start|>user\n"
            + " ".join(random.choices(words, k=120))
            + "<|im_end|>\n<|im_start|>assistant\n"
        )
        prompts.append(chat)
        chat += " ".join(random.choices(words, k=120)) + "<|im_end|>\n"
    return prompts


async def spent_ms(tokenizer: Tokenizer, text: str) -> tuple[float, float, bytes]:
    """Wall and CPU milliseconds of tokenizing, and the tokens."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = await tokenizer.encode_off_loop(text, add_special_tokens=False)
    return (time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3, tokens


async def measure(file: Path, backend: str, chats: int) -> None:
    """Prints medians over `chats` chats."""
    inspection = inspect_in_child(file)
    cache = SegmentCache(32 * 2**20)
    cached = Tokenizer.load(
        file, backend, cache=cache, templates=MARKS, inspect=lambda _: inspection
    )
    whole = Tokenizer.load(file, backend, inspect=lambda _: inspection)
    found: dict[int, list[tuple[float, float, float, float, int]]] = {}
    short: list[tuple[float, float]] = []
    for seed in range(chats):
        for number, prompt in enumerate(turns(Random(seed))):
            both = [cached, whole] if (seed + number) % 2 else [whole, cached]
            spent = {tokenizer: await spent_ms(tokenizer, prompt) for tokenizer in both}
            assert spent[cached][2] == spent[whole][2]
            found.setdefault(number, []).append(
                (*spent[cached][:2], *spent[whole][:2], len(spent[cached][2]) // 4)
            )
            spent = {
                tokenizer: await spent_ms(tokenizer, prompt[-SHORT_CHARS:]) for tokenizer in both
            }
            short.append((spent[cached][0], spent[whole][0]))
    share = cache.uncached_tokens / (cache.cached_tokens + cache.uncached_tokens)
    print(
        f"{backend}: ms wall (CPU) of a turn, cached and whole; {100 * share:.0f} % of all "
        "tokens were new"
    )
    for number in (0, 7, 15, 23, 31):
        rows = found.get(number)
        if rows:
            wall, cpu, whole_wall, whole_cpu, tokens = (
                statistics.median(values) for values in zip(*rows, strict=True)
            )
            print(
                f"  {tokens:6.0f} tokens  {wall:7.3f} ({cpu:7.3f})   {whole_wall:7.3f} "
                f"({whole_cpu:7.3f})"
            )
    totals = [
        sum(statistics.median(row[column] for row in rows) for rows in found.values())
        for column in range(4)
    ]
    print("  all turns      {:8.2f} ({:8.2f})   {:8.2f} ({:8.2f})".format(*totals))
    print(
        "  {} characters  {:7.4f}            {:7.4f}".format(
            SHORT_CHARS, *(statistics.median(values) for values in zip(*short, strict=True))
        )
    )
    print(f"  cache: {cache.bytes_held / 2**20:.1f} MiB after {chats} chats")


def main() -> None:
    """Measures both libraries."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tokenizer",
        type=Path,
        default=demo_model_dir() / "tokenizer.json",
        help="a tokenizer.json with ChatML marks",
    )
    parser.add_argument("--chats", type=int, default=5)
    arguments = parser.parse_args()
    for backend in ("hf", "fastokens"):
        asyncio.run(measure(arguments.tokenizer, backend, arguments.chats))


if __name__ == "__main__":
    main()
