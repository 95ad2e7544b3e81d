"""The rows of each table: what is sent, how many at once, and for how long."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from bench.kit.workloads import Corpus, Shape, fresh, shared_prefix


@dataclass(frozen=True, kw_only=True)
class FleetShape:
    """The simulated engines that a row needs. `paced`: with the timing model."""

    paced: bool = False
    workers: int = 1
    cache_tokens: int = 524_288
    """Of each worker."""

    @property
    def label(self) -> str:
        """For keys of results."""
        many = f"_{self.workers}x{self.cache_tokens // 1024}k" if self.workers > 1 else ""
        return "_paced" * self.paced + many


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of load.

    It ends after duration_s, or after `requests`.

    Attributes:
        bodies: distinct request bodies written for each round; a system that gets through all of
        them meets them again.
        groups, prefix_tokens: the bodies share so many system prompts of so many tokens.
        headline: key of the measure that the row is about, and whether more of it is better.
    """

    name: str
    title: str
    shape: Shape
    concurrency: int
    bodies: int
    duration_s: float | None = None
    requests: int | None = None
    fleet: FleetShape = FleetShape()
    groups: int = 0
    prefix_tokens: int = 0
    headline: tuple[str, bool] = ("req_per_s", True)

    def build(self, corpus: Corpus, seed: int) -> Iterator[dict[str, Any]]:
        """The bodies of one round; every round has its own seed."""
        if self.groups:
            return shared_prefix(
                corpus,
                self.shape,
                self.bodies,
                seed,
                groups=self.groups,
                prefix_tokens=self.prefix_tokens,
            )
        return fresh(corpus, self.shape, self.bodies, seed)

    def shortened(self, share: float) -> "Row":
        """The same row with `share` of the time and of the requests."""
        return replace(
            self,
            duration_s=self.duration_s and self.duration_s * share,
            requests=self.requests and max(self.concurrency, int(self.requests * share)),
        )


CHAT = Shape(input_tokens=128, output_tokens=1)
STREAM = Shape(input_tokens=128, output_tokens=256, stream=True)


def _paced(streams: int, requests: int) -> Row:
    return Row(
        name=f"paced_{streams}",
        title=f"{streams} stream{'s' * (streams > 1)} paced at 6.6 ms a token",
        shape=STREAM,
        concurrency=streams,
        bodies=requests,
        requests=requests,
        fleet=FleetShape(paced=True),
        headline=("frontend_cpu_us_per_token", False),
    )


PACED = [_paced(1, 3), _paced(64, 128), _paced(256, 512), _paced(1_024, 1_024)]
"""What a token costs, and whether each stream gets its own in time, from one stream to more than a
frontend should have: 32,000 tokens a second.
"""

STANDARD = [
    Row(
        name="chat_64",
        title="128-token chat, 1 token out, 64 together",
        shape=CHAT,
        concurrency=64,
        bodies=12_000,
        duration_s=4.0,
    ),
    Row(
        name="chat_1",
        title="128-token chat, 1 token out, one by one",
        shape=CHAT,
        concurrency=1,
        bodies=6_000,
        duration_s=3.0,
        headline=("e2e_p50_ms", False),
    ),
    Row(
        name="streams_64",
        title="64 streams x 256 tokens, engine without limit",
        shape=STREAM,
        concurrency=64,
        bodies=2_000,
        duration_s=4.0,
        headline=("tokens_per_s", True),
    ),
    Row(
        name="prompt_8k",
        title="8k-token prompts, fresh text, 8 together",
        shape=Shape(input_tokens=8_192, output_tokens=1),
        concurrency=8,
        bodies=3_000,
        duration_s=4.0,
    ),
    Row(
        name="prompt_32k",
        title="32k-token prompts, fresh text, 4 together",
        shape=Shape(input_tokens=32_768, output_tokens=1),
        concurrency=4,
        bodies=900,
        duration_s=4.0,
    ),
    Row(
        name="prompt_128k",
        title="128k-token prompts, fresh text, 2 together",
        # the model's context has 131,072 tokens, and lengths are right to about 2 %
        shape=Shape(input_tokens=126_000, output_tokens=1),
        concurrency=2,
        bodies=250,
        duration_s=4.0,
    ),
    *PACED[:3],
]
"""The rows of the project's budget that need no KV routing. Bodies of 8k tokens and more take about
100 MB of disk each while a round lasts.
"""

QUICK = [
    replace(row.shortened(0.4), bodies=min(row.bodies, 400))
    for row in STANDARD
    if row.name in {"chat_64", "chat_1", "streams_64", "prompt_8k", "paced_64"}
]


def _prefixes(name: str, title: str, cache_tokens: int) -> Row:
    return Row(
        name=name,
        title=title,
        shape=Shape(input_tokens=256, output_tokens=16, stream=True),
        concurrency=16,
        bodies=400,
        requests=400,
        fleet=FleetShape(paced=True, workers=4, cache_tokens=cache_tokens),
        groups=16,
        prefix_tokens=4_096,
        headline=("ttft_p50_ms", False),
    )


PREFIX = [
    _prefixes(
        "groups_32k",
        "16 groups sharing 4k tokens + 256 own, 4 workers with caches of 32k tokens",
        32_768,
    ),
    _prefixes("groups_1m", "the same with caches of 1M tokens", 1_048_576),
]
"""What KV routing is for.

The share of prompt tokens found cached is 0.94 of 4k in 4.35k at the most; see `cached_share`.
"""

TABLES = {"prefix": PREFIX, "standard": STANDARD, "quick": QUICK, "paced": PACED}
