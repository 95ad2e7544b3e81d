"""What users ask.

A script is one user: it yields seconds to wait or a prompt to send, and gets the answer's tokens
for the latter.

Scripts draw from generators of their own, so every mode meets the same users with the same words;
answers are a function of the prompt alone (workers.sim.text), so they are the same too.
"""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np

from bench.routing.engine_rank import VOCABULARY

Script = Generator[float | bytes, bytes, None]
Users = Iterator[tuple[float, Script]]
"""Start time in s and script, in order of start."""

Draw = np.random.Generator

MAX_OUTPUT_RATIO = 6
"""max_new_tokens is this many times the mean output."""


@dataclass(frozen=True)
class Workload:
    """`users(ranks, rate, seed)`: `rate` is requests a second and rank where arrivals are open,
    users a rank where they are closed.

    Args:
        rate: at which the fleet does some 70 % of what it can do in its best mode
        (bench.routing.calibrate).
        span_s: simulated seconds by fleet size, of which the first `warm_s` are not measured.
    """

    title: str
    users: Callable[[int, float, int], Users]
    rate: float
    output_mean: float
    span_s: dict[int, float]
    warm_s: float
    kv_tokens: int = 400_000
    closed: bool = False


def tokens(draw: Draw, number: int) -> bytes:
    """Fresh text."""
    return draw.integers(3, VOCABULARY, number, dtype=np.uint32).tobytes()


def around(draw: Draw, mean: int) -> int:
    """A length of moderate spread: between a half and one and a half of the mean."""
    return int(draw.integers(mean // 2, mean + mean // 2 + 1))


def prefixes(seed: int, number: int, length: int) -> list[bytes]:
    """Texts that users share."""
    return [tokens(np.random.default_rng([seed, 7, index]), length) for index in range(number)]


def _arrivals(ranks: int, rate: float, seed: int, prompt: Callable[[Draw], bytes]) -> Users:
    """Poisson arrivals of single requests, without end."""
    gaps, now = np.random.default_rng([seed, 1]), 0.0

    def ask(index: int) -> Script:
        yield prompt(np.random.default_rng([seed, 2, index]))

    for index in count():
        now += float(gaps.exponential(1 / (rate * ranks)))
        yield now, ask(index)


def system(ranks: int, rate: float, seed: int) -> Users:
    """One hot system prompt."""
    [shared] = prefixes(seed, 1, 2_048)
    return _arrivals(ranks, rate, seed, lambda draw: shared + tokens(draw, around(draw, 256)))


def unshared(ranks: int, rate: float, seed: int) -> Users:
    """Nothing in common."""
    return _arrivals(ranks, rate, seed, lambda draw: tokens(draw, around(draw, 2_048)))


def groups(ranks: int, rate: float, seed: int) -> Users:
    """16 groups, each with a prefix of 4k tokens; 256 requests, so that a perfect cache has 0.88 of
    their tokens.
    """
    shared = prefixes(seed, 16, 4_096)
    return islice(
        _arrivals(
            ranks, rate, seed, lambda draw: shared[int(draw.integers(16))] + tokens(draw, 256)
        ),
        256,
    )


def bursts(ranks: int, rate: float, seed: int) -> Users:
    """Fan-outs: 40 requests in a tenth of a second with a fresh prefix of 4k tokens in common, 256
    tokens of their own.
    """
    draw, size, now = np.random.default_rng([seed, 1]), 40, 0.0

    def ask(shared: bytes, index: int) -> Script:
        yield shared + tokens(np.random.default_rng([seed, 2, index]), 256)

    for index in count():
        now += float(draw.exponential(size / (rate * ranks)))
        shared = tokens(np.random.default_rng([seed, 4, index]), 4_096)
        for offset, start in enumerate(sorted(draw.uniform(now, now + 0.1, size))):
            yield float(start), ask(shared, index * size + offset)


def chat(ranks: int, rate: float, seed: int) -> Users:
    """People who chat, eight turns a conversation, one conversation after the other; the first
    begins somewhere in the middle.
    """
    shared, turns, think_s = prefixes(seed, 4, 512), 8, 4.0

    def talk(index: int) -> Script:
        draw = np.random.default_rng([seed, 3, index])
        left = int(draw.integers(1, turns + 1))
        history = shared[index % 4] + tokens(draw, (turns - left) * 350 + around(draw, 200))
        while True:
            for _ in range(left):
                answer = yield history
                history += answer + tokens(draw, around(draw, 200))
                yield float(draw.exponential(think_s))
            left, history = turns, shared[index % 4] + tokens(draw, around(draw, 200))

    starts = np.random.default_rng([seed, 1]).uniform(0, think_s, int(rate * ranks))
    return iter([(float(start), talk(index)) for index, start in enumerate(sorted(starts))])


def agents(ranks: int, rate: float, seed: int) -> Users:
    """Agents of 32 families: 16k tokens shared in the family, 1k of the task, then tool results
    after every answer, six calls a task.
    """
    shared, calls, tool_s = prefixes(seed, 32, 16_384), 6, 1.0

    def work(index: int) -> Script:
        draw = np.random.default_rng([seed, 3, index])
        left = int(draw.integers(1, calls + 1))
        family = shared[int(draw.integers(32))]
        history = family + tokens(draw, around(draw, 1_024) + (calls - left) * 700)
        while True:
            for _ in range(left):
                answer = yield history
                history += answer + tokens(draw, around(draw, 512))
                yield float(draw.exponential(tool_s))
            left, family = calls, shared[int(draw.integers(32))]
            history = family + tokens(draw, around(draw, 1_024))

    starts = np.random.default_rng([seed, 1]).uniform(0, 8.0, int(rate * ranks))
    return iter([(float(start), work(index)) for index, start in enumerate(sorted(starts))])


WORKLOADS: dict[str, Workload] = {
    "system": Workload("one system prompt of 2k", system, 34, 128, {8: 20, 64: 9}, 4),
    "system-cold": Workload("the same from a cold start", system, 34, 128, {8: 6, 64: 3}, 0),
    "chat": Workload("chats of 8 turns", chat, 120, 150, {8: 40, 64: 22}, 14, closed=True),
    "agents": Workload("32 families of 16k", agents, 24, 200, {8: 50, 64: 26}, 14, closed=True),
    "unshared": Workload("nothing shared, 2k", unshared, 10, 200, {8: 40, 64: 18}, 8),
    "bursts": Workload("fan-outs of 40, fresh 4k", bursts, 10, 128, {8: 40, 64: 16}, 6),
    "groups-small": Workload(
        "16 groups of 4k, cache 32k", groups, 3.0, 64, {4: 60}, 0, kv_tokens=32_768
    ),
    "groups-large": Workload(
        "16 groups of 4k, cache 1M", groups, 3.0, 64, {4: 60}, 0, kv_tokens=1_000_000
    ),
}
