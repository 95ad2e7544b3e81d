"""The loads of bench.sglang.kv_routing: chats of several turns, and fan-outs, over shared
beginnings.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Load:
    """Chats of `turns` turns, in `groups` that share a beginning; token counts are of prompts
    unless said otherwise.

    `in_runs`: all of a group come one behind the other, a fan-out where they are as many as are
    together.
    """

    groups: int
    prefix_tokens: int
    chats_per_group: int
    turns: int
    turn_tokens: int
    output_tokens: int
    concurrency: int
    in_runs: bool = False
    vocabulary: range = range(10, 1_900)

    @property
    def requests(self) -> int:
        return self.groups * self.chats_per_group * self.turns

    def bodies(self, model: str, seed: int) -> Iterator[dict[str, Any]]:
        """All first turns, then all second ones, each time in another order: a turn follows its
        predecessor's answer.
        """
        rng = Random(seed)

        def text(length: int) -> list[int]:
            return rng.choices(self.vocabulary, k=length)

        prefixes = [text(self.prefix_tokens) for _ in range(self.groups)]
        chats = [list(prefix) for prefix in prefixes for _ in range(self.chats_per_group)]
        for turn in range(self.turns):
            if not self.in_runs:  # or round-robin would meet each chat on the same rank again
                rng.shuffle(chats)
            for chat in chats:
                # The answer before is stood in for by text of its length: it cannot be known
                # beforehand.
                chat.extend(text(self.turn_tokens + (self.output_tokens if turn else 0)))
                yield {
                    "model": model,
                    "prompt": chat,
                    "max_tokens": self.output_tokens,
                    "temperature": 0,
                    "ignore_eos": True,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }


SMALL = Load(
    groups=8,
    prefix_tokens=512,
    chats_per_group=3,
    turns=4,
    turn_tokens=32,
    output_tokens=16,
    concurrency=8,
)
"""For two CPU cores and the demo model.

With 4,096 KV tokens a rank holds four of the eight prefixes with their chats.
"""

LARGE = Load(
    groups=16,
    prefix_tokens=8_192,
    chats_per_group=4,
    turns=4,
    turn_tokens=256,
    output_tokens=64,
    concurrency=32,
)
"""For a GPU."""

FAN_OUTS = Load(
    groups=6,
    prefix_tokens=1_024,
    chats_per_group=16,
    turns=1,
    turn_tokens=32,
    output_tokens=16,
    concurrency=16,
    in_runs=True,
)
"""For two CPU cores and the demo model."""

LARGE_FAN_OUTS = Load(
    groups=10,
    prefix_tokens=4_096,
    chats_per_group=40,
    turns=1,
    turn_tokens=256,
    output_tokens=128,
    concurrency=40,
    in_runs=True,
)
"""For GPUs: as the fan-outs of bench.routing, one as soon as the one before ends."""

LOADS = {
    "small": SMALL,
    "large": LARGE,
    "fan-outs": FAN_OUTS,
    "large-fan-outs": LARGE_FAN_OUTS,
}


def perfect_share(load: Load, model: str) -> float:
    """Of all prompt tokens, those that an engine with unlimited memory would find cached."""
    seen: set[tuple[int, ...]] = set()
    found = total = 0
    for body in load.bodies(model, 0):
        pages = [tuple(body["prompt"][:end]) for end in range(16, len(body["prompt"]), 16)]
        found += 16 * sum(page in seen for page in pages)
        total += len(body["prompt"])
        seen.update(pages)
    return found / total
