"""Adds up what requests for one model were and took."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from frontend.observe.buckets import Buckets, GapScale, spread
from frontend.observe.request_record import RequestRecord

STAGE_S: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class HistogramBounds:
    """A HistogramBounds holds the bounds of each histogram of requests: in seconds, or tokens."""

    request_duration: Sequence[float] = field(default_factory=lambda: spread(1.0, 512.0, 10))
    ttft: Sequence[float] = field(default_factory=lambda: spread(0.001, 480.0, 18))
    itl: Sequence[float] = field(default_factory=lambda: spread(0.001, 2.0, 13))
    input_sequence: Sequence[float] = field(default_factory=lambda: spread(50.0, 128_000.0, 12))
    output_sequence: Sequence[float] = field(default_factory=lambda: spread(50.0, 32_000.0, 10))

    @classmethod
    def of(cls, layout: Callable[[str], tuple[float, float, int]]) -> "HistogramBounds":
        """Returns the bounds of histograms of which each is spread by its layout: the least and the
        most that it tells apart, and in how many buckets.
        """
        return cls(**{each.name: spread(*layout(each.name)) for each in fields(cls)})


class RequestTally:
    """A RequestTally adds up the requests for one model."""

    def __init__(self, bounds: HistogramBounds, gap_scale: GapScale) -> None:
        self._gap_scale = gap_scale
        self.duration = Buckets(bounds.request_duration)
        self.ttft = Buckets(bounds.ttft)
        self.itl = Buckets(bounds.itl)
        self.input_tokens = Buckets(bounds.input_sequence)
        self.output_tokens = Buckets(bounds.output_sequence)
        self.cached_tokens = Buckets(bounds.input_sequence)
        self.preprocess = Buckets(STAGE_S)
        self.route = Buckets(STAGE_S)
        self.prefill = Buckets(STAGE_S)
        self.decode = Buckets(STAGE_S)
        self.embedding = Buckets(bounds.ttft)

    def add(self, record: RequestRecord) -> None:
        """Adds a request that ran a model, or would have."""
        self.duration.add(record.took_s)
        if record.prepared_s is not None:
            self.preprocess.add(record.prepared_s)
            if record.sent_s is not None:
                self.route.add(record.sent_s - record.prepared_s)
        if record.output_tokens:
            self.input_tokens.add(record.prompt_tokens)
            self.cached_tokens.add(record.cached_tokens)
            self.output_tokens.add(record.output_tokens)
        elif record.prompt_tokens and not record.error:  # it was embedded
            self.input_tokens.add(record.prompt_tokens)
            if record.endpoint == "embeddings":
                self.embedding.add(record.took_s)
        first_s, sent_s, last_s = record.first_token_s, record.sent_s, record.last_token_s
        if first_s is None or sent_s is None or last_s is None:
            return
        self.ttft.add(first_s)
        self.prefill.add(first_s - sent_s)
        self.decode.add(last_s - first_s)
        if record.gaps:
            self._gap_scale.count_into(self.itl, record.gaps, record.gaps_s)


HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[RequestTally], Buckets]], ...]] = (
    ("request_duration_seconds", "From a request's coming to its end", lambda each: each.duration),
    (
        "time_to_first_token_seconds",
        "From a request's coming to its first token",
        lambda each: each.ttft,
    ),
    (
        "inter_token_latency_seconds",
        "Between the tokens of a choice as its workers send them, pauses of moves included",
        lambda each: each.itl,
    ),
    (
        "input_sequence_tokens",
        "Prompt tokens of requests that got a token, or a vector",
        lambda each: each.input_tokens,
    ),
    (
        "output_sequence_tokens",
        "Tokens generated for a request",
        lambda each: each.output_tokens,
    ),
    (
        "cached_tokens",
        "Prompt tokens of a request that its engine had cached",
        lambda each: each.cached_tokens,
    ),
)
"""Lists name, help and place of each histogram that has the label model alone."""

STAGES: Final[tuple[tuple[str, Callable[[RequestTally], Buckets]], ...]] = (
    ("preprocess", lambda each: each.preprocess),
    ("route", lambda each: each.route),
    ("prefill", lambda each: each.prefill),
    ("decode", lambda each: each.decode),
)
"""Lists name and place of the seconds that each stage of requests took."""
