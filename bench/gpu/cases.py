"""The loads of bench.gpu.three_way: how many streamed chats are together, how long they are, what
they share.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.kit.workloads import Corpus, Shape, fresh, shared_prefix

WARM_UP_REQUESTS_MAX = 256
WARM_UP_OUTPUT_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Case:
    """`requests` chats, `concurrency` at a time.

    With `groups`, each begins with one of so many texts of prefix_tokens.
    """

    name: str
    concurrency: int
    requests: int
    input_tokens: int
    output_tokens: int
    groups: int = 0
    prefix_tokens: int = 0

    @property
    def title(self) -> str:
        length = f"{self.input_tokens:,}"
        if self.groups:
            length = f"({self.groups} x {self.prefix_tokens:,} shared + {length})"
        return f"{self.concurrency:,} x {length}/{self.output_tokens}"

    def bodies(self, corpus: Corpus, seed: int) -> Iterator[dict[str, Any]]:
        """What one round sends; another seed gives other texts throughout."""
        return self._bodies(corpus, seed, self.requests, self.output_tokens)

    def warm_up(self, corpus: Corpus, seed: int) -> Iterator[dict[str, Any]]:
        """Short answers to prompts of full length, so that every kernel of the case has run
        once.
        """
        return self._bodies(
            corpus, seed, self.warm_up_requests, min(self.output_tokens, WARM_UP_OUTPUT_TOKENS)
        )

    @property
    def warm_up_requests(self) -> int:
        return min(self.requests, max(2, self.concurrency), WARM_UP_REQUESTS_MAX)

    def _bodies(
        self, corpus: Corpus, seed: int, count: int, output_tokens: int
    ) -> Iterator[dict[str, Any]]:
        shape = Shape(input_tokens=self.input_tokens, output_tokens=output_tokens, stream=True)
        if self.groups:
            return shared_prefix(
                corpus, shape, count, seed, groups=self.groups, prefix_tokens=self.prefix_tokens
            )
        return fresh(corpus, shape, count, seed)


CASES = [
    Case(name="1", concurrency=1, requests=8, input_tokens=512, output_tokens=128),
    Case(name="16", concurrency=16, requests=64, input_tokens=512, output_tokens=128),
    Case(name="64", concurrency=64, requests=256, input_tokens=512, output_tokens=128),
    Case(name="256", concurrency=256, requests=768, input_tokens=512, output_tokens=128),
    Case(name="1024", concurrency=1024, requests=1536, input_tokens=512, output_tokens=128),
    Case(name="4k", concurrency=32, requests=64, input_tokens=4096, output_tokens=64),
    Case(
        name="shared",
        concurrency=32,
        requests=128,
        input_tokens=256,
        output_tokens=64,
        groups=16,
        prefix_tokens=4096,
    ),
]
"""About 40 s a system on one H100, half of it in 1024."""

TWO_GPU_CASES = ["256", "1024", "4k", "shared"]

TRIAL_CASES = [
    Case(name="trial-1", concurrency=1, requests=2, input_tokens=64, output_tokens=8),
    Case(name="trial-8", concurrency=8, requests=16, input_tokens=64, output_tokens=8),
    Case(
        name="trial-shared",
        concurrency=4,
        requests=8,
        input_tokens=32,
        output_tokens=8,
        groups=2,
        prefix_tokens=128,
    ),
]
"""For trying the program itself on a host without a GPU."""


def cases_named(text: str, gpus: int) -> list[Case]:
    """The cases of a comma-separated list; without one, those that suit so many GPUs.

    Raises ValueError for an unknown name.
    """
    known = {case.name: case for case in [*CASES, *TRIAL_CASES]}
    names = [name for name in text.split(",") if name] or (
        TWO_GPU_CASES if gpus > 1 else [case.name for case in CASES]
    )
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"unknown cases {unknown}; there are {list(known)}")
    return [known[name] for name in names]
