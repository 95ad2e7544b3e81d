"""A hundred streams, what they would have said undisturbed, and what became of them."""

import asyncio
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.faults.client import Answer, Body, Call, call
from bench.faults.fleet import MODEL

START_APART_S = 0.005
"""Between two streams' starts, so that they do not march in step."""

PROMPT_TOKENS = (20, 400)
"""Range of prompt lengths; ids that are words in the demo model's vocabulary."""


def body_of(number: int, *, max_tokens: int, **more: Any) -> Body:
    """Request number so-and-so: always the same, and unlike the others from its first token."""
    rng = random.Random(number)
    prompt = rng.choices(range(10, 1900), k=rng.randint(*PROMPT_TOKENS))
    return {
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    } | more


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(frozen=True)
class Gaps:
    """Times between two arrivals of one stream, ms."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, gaps_s: Sequence[float]) -> "Gaps":
        """From seconds."""
        return cls(
            *(
                round(1000 * value, 1)
                for value in (
                    percentile(gaps_s, 0.5),
                    percentile(gaps_s, 0.99),
                    max(gaps_s, default=0.0),
                )
            )
        )


class Crowd:
    """Streams that run side by side.

    Args:
        texts: stream → what it says undisturbed; filled by the first crowd that ends without a
        fault.
    """

    def __init__(
        self, count: int, *, max_tokens: int, texts: dict[int, str], offset: int = 0
    ) -> None:
        self._numbers = range(offset, offset + count)
        self._max_tokens = max_tokens
        self._texts = texts
        self.calls: list[Call] = []
        self.answers: list[Answer] = []

    async def begin(self, ports: Sequence[int]) -> None:
        """Start all of them, in turn at each frontend, and wait until each has its first token."""
        for number in self._numbers:
            self.calls.append(
                await call(ports[number % len(ports)], body_of(number, max_tokens=self._max_tokens))
            )
            await asyncio.sleep(START_APART_S)
        for each in self.calls:
            await each.first

    async def end(self, wait_s_max: float = 120.0) -> None:
        """Wait for the end of all; what has not ended by then is left, and counts as lost."""
        await asyncio.wait([each.ended for each in self.calls], timeout=wait_s_max)
        for each in self.calls:
            if not each.ended.done():
                each.leave()
        self.answers = [each.answer for each in self.calls]

    def learn_texts(self) -> None:
        """Take what was said as what is right."""
        for number, answer in zip(self._numbers, self.answers, strict=True):
            self._texts[number] = answer.texts[0]

    def errors(self) -> dict[str, int]:
        """Code → how many ended with it."""
        return dict(Counter(answer.error for answer in self.answers if answer.error))

    def finished(self) -> int:
        """Answers that came to their end with the usage they should have."""
        return sum(
            not answer.error and answer.completion_tokens == self._max_tokens
            for answer in self.answers
        )

    def texts_equal(self) -> int:
        """Answers that say what they say undisturbed."""
        return sum(
            answer.texts.get(0) == self._texts[number]
            for number, answer in zip(self._numbers, self.answers, strict=True)
        )

    def gaps(self, since: float = 0.0, until: float = float("inf")) -> Gaps:
        """Over all streams."""
        return Gaps.of([gap for answer in self.answers for gap in answer.gaps_s(since, until)])

    def last_arrivals(self, before: float) -> float:
        """The time at which half of the streams last heard something before that."""
        return statistics.median(
            max((at for at in answer.arrivals if at <= before), default=0.0)
            for answer in self.answers
        )


async def sleep_until(at: float) -> None:
    """Monotonic."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))
