"""What a load came to, in figures, and what has to be known of them to believe them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from frontend.cli.bench.load import Outcome, Record

CPU_SHARE_HIGH: Final = 0.8
"""Is the share of a core from which on this process, which has one thread, waits for itself."""

LATE_MS_HIGH: Final = 5.0
"""Is how late this process may come to its turn before it shows in what it measures."""

HOST_SHARE_HIGH: Final = 0.95

REQUESTS_FEW: Final = 100
"""Below so many, the slowest request is above the 99th percentile."""


@dataclass(frozen=True)
class Quantiles:
    """Quantiles are of times, in milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Summary:
    """A Summary is one load in figures; what was not to be had is None.

    Attributes:
        requests: that were begun in the window and answered whole.
        failures: why others were not, with their number.
        seconds: that the window was open.
        prompt_tokens: of a request on average, as the server counts; output_tokens alike.
        cached_share: of the prompts' tokens.
        tokens_per_piece: that arrive together.
        generator_cpu_share: of one core, that measuring took.
        late_ms_p99: how late the generator came to its turn.
        notes: a sentence on each thing that limits what the figures say.
    """

    concurrency: int
    seconds: float
    requests: int
    failures: dict[str, int]
    requests_per_s: float
    output_tokens_per_s: float
    ttft_ms: Quantiles | None
    inter_token_ms: Quantiles | None
    request_ms: Quantiles | None
    prompt_tokens: float | None
    output_tokens: float | None
    cached_share: float | None
    tokens_per_piece: float
    generator_cpu_share: float
    late_ms_p99: float
    host_cpu_share: float
    notes: list[str]


@dataclass(frozen=True)
class Wanted:
    """Wanted is what was asked for: tokens of each prompt and answer, and on which host."""

    prompt_tokens: int
    output_tokens: int
    same_host: bool


def summary_of(outcome: Outcome, wanted: Wanted) -> Summary:
    """Returns a load in figures."""
    window = outcome.window
    seconds = max(0.0, window.closes_at - window.opened_at) if outcome.records else 0.0
    whole = [each for each in outcome.records if each.error is None]
    failures = Counter(outcome.failed_before)
    failures.update(each.error for each in outcome.records if each.error is not None)
    output = _mean([each.usage.completion_tokens for each in whole if each.usage])
    pieces = _mean([len(each.times) for each in whole])
    per_piece = output / pieces if output and pieces else 1.0
    found = Summary(
        concurrency=outcome.concurrency,
        seconds=seconds,
        requests=len(whole),
        failures=dict(failures),
        requests_per_s=window.whole / seconds if seconds else 0.0,
        output_tokens_per_s=window.pieces * per_piece / seconds if seconds else 0.0,
        ttft_ms=_quantiles([each.times[0] - each.sent_at for each in whole if each.times]),
        inter_token_ms=_quantiles(
            [after - before for each in whole for before, after in pairwise(each.times)]
        ),
        request_ms=_quantiles([each.ended_at - each.sent_at for each in whole]),
        prompt_tokens=_mean([each.usage.prompt_tokens for each in whole if each.usage]),
        output_tokens=output if output is not None else pieces,
        cached_share=_cached_share(whole),
        tokens_per_piece=per_piece,
        generator_cpu_share=outcome.cpu_s / seconds if seconds else 0.0,
        late_ms_p99=(_quantile(sorted(outcome.late_s), 0.99) * 1000 if outcome.late_s else 0.0),
        host_cpu_share=outcome.host_cpu_share,
        notes=[],
    )
    found.notes.extend(notes_on(found, wanted, counted=output is not None))
    return found


def notes_on(found: Summary, wanted: Wanted, *, counted: bool) -> list[str]:
    """Returns what has to be known of the figures; `counted` by the server are its tokens."""
    notes: list[str] = []
    if found.failures:
        total = sum(found.failures.values())
        notes.append(f"{total} requests failed, and are in no figure but the errors")
    if not found.requests:
        return [*notes, "no request was answered whole: there is nothing to measure"]
    if found.generator_cpu_share > CPU_SHARE_HIGH:
        notes.append(
            f"the load generator took {found.generator_cpu_share:.0%} of a core and was the "
            "bottleneck: the figures are its own"
        )
    elif found.late_ms_p99 > LATE_MS_HIGH:
        notes.append(
            f"the load generator came to its turn up to {found.late_ms_p99:.0f} ms late (p99), "
            "and times are too long by that"
        )
    if wanted.same_host and found.host_cpu_share > HOST_SHARE_HIGH:
        notes.append("all cores of this host were busy, and the load generator shares them")
    if found.requests < REQUESTS_FEW:
        notes.append(f"p99 of {found.requests} requests is their slowest")
    return notes + _notes_on_tokens(found, wanted, counted=counted)


def _notes_on_tokens(found: Summary, wanted: Wanted, *, counted: bool) -> list[str]:
    notes: list[str] = []
    if not counted:
        notes.append("the server does not count tokens: a piece of its stream stands for one")
    if counted and found.tokens_per_piece > 1.1:
        notes.append(
            f"a piece has {found.tokens_per_piece:.1f} tokens: inter-token times are those "
            "between pieces"
        )
    if found.output_tokens is not None and found.output_tokens < 0.95 * wanted.output_tokens:
        notes.append(
            f"answers ended after {found.output_tokens:.0f} of {wanted.output_tokens} tokens"
        )
    if found.prompt_tokens and abs(found.prompt_tokens / wanted.prompt_tokens - 1) > 0.1:
        notes.append(f"prompts had {found.prompt_tokens:.0f} of {wanted.prompt_tokens} tokens")
    if found.ttft_ms is None:
        notes.append("no answer had any text")
    return notes


def notes_of(loads: Sequence[Summary]) -> list[str]:
    """Returns the notes on all loads, each said once of those that it is true of."""
    of: dict[str, list[int]] = {}
    for each in loads:
        for note in each.notes:
            of.setdefault(note, []).append(each.concurrency)
    return [f"{users(numbers)}: {note}" for note, numbers in of.items()]


def users(numbers: Sequence[int]) -> str:
    """Returns numbers of users in words."""
    listed = ", ".join(map(str, numbers))
    return "1 user" if listed == "1" else f"{listed} users"


def _cached_share(whole: Sequence[Record]) -> float | None:
    told = [each.usage for each in whole if each.usage and each.usage.cached_tokens is not None]
    prompts = sum(each.prompt_tokens for each in told)
    return sum(each.cached_tokens or 0 for each in told) / prompts if prompts else None


def _quantiles(times_s: list[float]) -> Quantiles | None:
    if not times_s:
        return None
    times_s.sort()
    return Quantiles(*(_quantile(times_s, share) * 1000 for share in (0.5, 0.9, 0.99)))


def _quantile(values: Sequence[float], share: float) -> float:
    """Returns the value that at least this share of sorted values does not exceed."""
    return values[max(0, math.ceil(share * len(values)) - 1)]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
