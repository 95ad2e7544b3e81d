"""Looks at what a frontend counts once a second, and remembers the last minutes. Pure."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.token_flow import Flow
from frontend.models.services import use_of
from frontend.status.recent import Recent
from frontend.status.snapshot import Point

STEP_S: Final = 1.0
"""Is the time between two points: what happens within one second is a matter for traces."""

POINTS_MAX: Final = 300
"""Bounds the points remembered: five minutes, in which whoever is told of a slow answer has come to
look.
"""


class Sampler:
    """A Sampler makes a Point of every second.

    Attributes:
        points: the past, the oldest first.
        tokens_per_s: of each model, over the last second.
    """

    def __init__(self, registry: Registry, recent: Recent, now: float) -> None:
        self.points: deque[Point] = deque(maxlen=POINTS_MAX)
        self.tokens_per_s: dict[ModelEntry, float] = {}
        self._registry = registry
        self._recent = recent
        self._sampled_at = now
        self._ended = self._failed = 0
        self._flows: dict[ModelEntry, Flow] = {}

    def sample(self, now: float, unix_s: float) -> None:
        """Adds the point of the time since the last one."""
        passed_s = max(1e-3, now - self._sampled_at)
        self._sampled_at = now
        entries = self._registry.entries()
        tokens = streamed_tokens = prompt_tokens = cached_tokens = running = waiting = 0
        streaming_s = 0.0
        first_tokens_s: list[float] = []
        flows: dict[ModelEntry, Flow] = {}
        for entry in entries:
            streams = list(entry.streams())
            flow, first_s = entry.flow.read(streams, now)
            before = self._flows.get(entry) or Flow()
            flows[entry] = flow
            self.tokens_per_s[entry] = (flow.tokens - before.tokens) / passed_s
            tokens += flow.tokens - before.tokens
            streamed_tokens += flow.streamed_tokens - before.streamed_tokens
            streaming_s += flow.streaming_s - before.streaming_s
            prompt_tokens += flow.prompt_tokens - before.prompt_tokens
            cached_tokens += flow.cached_tokens - before.cached_tokens
            first_tokens_s += first_s
            running += len(streams)
            waiting += len(entry.queue)
        for gone in self.tokens_per_s.keys() - flows.keys():
            del self.tokens_per_s[gone]
        self._flows = flows
        ended, failed = self._recent.ended, self._recent.failed
        first_tokens_s.sort()
        self.points.append(
            Point(
                at_unix_s=round(unix_s, 1),
                requests=round((ended - self._ended) / passed_s, 2),
                failed=round((failed - self._failed) / passed_s, 2),
                tokens=round(tokens / passed_s, 1),
                ttft_ms=_ms(first_tokens_s[len(first_tokens_s) // 2]) if first_tokens_s else None,
                ttft_ms_max=_ms(first_tokens_s[-1]) if first_tokens_s else None,
                inter_token_ms=_ms(streaming_s / streamed_tokens) if streamed_tokens else None,
                running=running + waiting,
                waiting=waiting,
                kv_share=_kv_share(entries),
                hit_rate=round(min(1.0, cached_tokens / prompt_tokens), 4)
                if prompt_tokens
                else None,
            )
        )
        self._ended, self._failed = ended, failed


def _ms(seconds: float) -> float:
    return round(1000 * max(0.0, seconds), 2)


def _kv_share(entries: Iterable[ModelEntry]) -> float | None:
    ranks = [
        rank
        for entry in entries
        if use_of(entry.service).generates
        for worker in entry.workers
        for rank in worker.ranks
    ]
    held = sum(rank.kv_tokens_max for rank in ranks)
    return round(sum(rank.engine_kv_tokens for rank in ranks) / held, 4) if held else None
