"""Adds up what the requests on one worker were and took, as its router saw them."""

from typing import Any, Final, Protocol

from msgspec import Struct

from frontend.observe.buckets import Buckets
from frontend.observe.request_tally import HistogramBounds
from frontend.routing.route import Placement
from protocol.generation import Finished

_SHARES: Final = tuple(tenths / 10 for tenths in range(11))


class FinishedStream(Protocol):
    """A FinishedStream is a request that ended on a worker; times are those of perf_counter, 0 for
    what never was.
    """

    finished: Finished | None
    placement: Placement[Any]
    prefill_placement: Placement[Any]
    asked_at: float
    first_at: float
    last_at: float


class Latest(Struct, frozen=True, gc=False):
    """A Latest is what the last request on a rank took, in seconds, and its prompt's tokens."""

    ttft_s: float
    itl_s: float
    prompt_tokens: int


class WorkerTally:
    """A WorkerTally counts the requests that a frontend sent to a worker, and goes with the worker.

    A request costs it 2 µs.

    Attributes:
        started: those that were sent, legs of any kind.
        finished: those that the engine completed.
        predicted_tokens: of their prompts, those that were expected in its cache.
        best_tokens: those that the rank had which had most of them.
        cached_tokens: those that the engine found.
        latest: by data-parallel rank.
    """

    __slots__ = (
        "best_tokens",
        "cached_tokens",
        "finished",
        "hit_rate",
        "input_tokens",
        "itl",
        "latest",
        "output_tokens",
        "predicted_tokens",
        "started",
        "ttft",
    )

    def __init__(self) -> None:
        bounds = HistogramBounds()
        self.started = self.finished = 0
        self.predicted_tokens = self.best_tokens = self.cached_tokens = 0
        self.ttft = Buckets(bounds.ttft)
        self.itl = Buckets(bounds.itl)
        self.input_tokens = Buckets(bounds.input_sequence)
        self.output_tokens = Buckets(bounds.output_sequence)
        self.hit_rate = Buckets(_SHARES)
        self.latest: dict[int, Latest] = {}

    def note(self, stream: FinishedStream) -> None:
        """Counts a request that the worker's engine completed."""
        finished, placement = stream.finished, stream.prefill_placement
        assert finished is not None, "a request that did not end so"
        self.finished += 1
        self.predicted_tokens += placement.cached_tokens
        self.best_tokens += placement.best_cached_tokens
        self.cached_tokens += finished.cached_tokens
        self.input_tokens.add(finished.prompt_tokens)
        self.hit_rate.add(min(1.0, placement.cached_tokens / max(1, finished.prompt_tokens)))
        if not stream.first_at:
            return
        ttft_s, itl_s = stream.first_at - stream.asked_at, 0.0
        self.ttft.add(ttft_s)
        self.output_tokens.add(finished.completion_tokens)
        if finished.completion_tokens > 1:
            itl_s = (stream.last_at - stream.first_at) / (finished.completion_tokens - 1)
            self.itl.add(itl_s)
        dp_rank = stream.placement.rank.dp_rank
        self.latest[dp_rank] = Latest(ttft_s, itl_s, finished.prompt_tokens)
