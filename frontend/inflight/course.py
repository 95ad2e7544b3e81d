"""Writes down the course of a request that has ended, from what ran for it on workers."""

from collections.abc import Sequence
from typing import Final

from frontend.fleet.stream import RequestStream
from frontend.inflight.choice import Choice
from frontend.inflight.diffusion import Diffusion
from frontend.inflight.embeddings import Embeddings
from frontend.inflight.generation import Generation
from frontend.observe.request_record import RequestRecord

WORKERS_MAX: Final = 4
"""Bounds the workers named of a request with many choices."""

Work = Generation | Diffusion | Embeddings


def note_course(record: RequestRecord, work: object, came_at: float) -> None:
    """Adds to a record where its request ran, what it cost and when its stages were over.

    Args:
        work: what ran for it on workers; anything else ran nowhere.
        came_at: when the request came, by perf_counter.
    """
    if isinstance(work, Generation):
        if work.choices:
            _note_choices(record, work.choices, came_at)
    elif isinstance(work, Diffusion):
        record.cost, record.moves = work.request.cost, work.moves
        _note_stream(record, work.stream, came_at)
    elif isinstance(work, Embeddings):
        record.prompt_tokens, record.moves = work.prompt_tokens, work.moves
        _note_stream(record, work.stream, came_at)


def _note_stream(record: RequestRecord, stream: RequestStream | None, came_at: float) -> None:
    if stream is not None:
        record.workers = (_place(stream),)
        record.queued_s = stream.queue_s
        record.sent_s = stream.asked_at + stream.queue_s - came_at


def _note_choices(record: RequestRecord, choices: Sequence[Choice], came_at: float) -> None:
    first = choices[0]
    opening = first.earlier_legs[0] if first.earlier_legs else first.stream
    _note_stream(record, opening, came_at)
    if opening.prefill_placement is not opening.placement:
        record.prefill_worker = "{}/{}".format(*opening.prefill_placement.rank.key)
    record.choices = len(choices)
    record.cached_tokens = first.cached_tokens
    if len(choices) == 1:
        record.prompt_tokens = first.route.prompt_tokens
        record.output_tokens = first.completion_tokens
        record.finish = first.finish_reason or "unfinished"
    else:
        record.prompt_tokens = sum(
            {id(each.route): each.route.prompt_tokens for each in choices}.values()
        )
        record.output_tokens = sum([each.completion_tokens for each in choices])
        record.finish = ",".join({each.finish_reason or "unfinished": None for each in choices})
    if first.request.media:  # of which the engine alone may know how many tokens they are
        record.prompt_tokens = first.prompt_tokens_told or record.prompt_tokens
    if len(choices) == 1 and not first.earlier_legs:
        stream = first.stream
        if not stream.told_at_once:
            return
        record.gaps, record.gaps_s = stream.gaps, stream.last_at - stream.first_at
        if stream.first_at:
            record.first_token_s = stream.first_at - came_at
            record.last_token_s = stream.last_at - came_at
    else:
        record.workers = _places([each.stream for each in choices])
        _note_legs(record, choices, came_at)


def _note_legs(record: RequestRecord, choices: Sequence[Choice], came_at: float) -> None:
    """Adds what choices that are several, or were moved, went through."""
    legs = [(*each.earlier_legs, each.stream) for each in choices]
    record.moves = sum([each.trail.moves for each in choices])
    record.left = _places([leg for each in choices for leg in each.earlier_legs])
    record.queued_s = max([sum([leg.queue_s for leg in each]) for each in legs])
    begun = [leg for each in legs for leg in each if leg.first_at]
    if not (begun and begun[0].told_at_once):
        return
    record.first_token_s = min([leg.first_at for leg in begun]) - came_at
    record.last_token_s = max([leg.last_at for leg in begun]) - came_at
    gaps: dict[int, int] = {}
    for each in legs:
        before: RequestStream | None = None
        for leg in each:
            if not leg.first_at:
                continue
            for index, count in leg.gaps.items():
                gaps[index] = gaps.get(index, 0) + count
            record.gaps_s += leg.last_at - leg.first_at
            if before is not None:  # its client waited that long for the next token
                pause_s = leg.first_at - before.last_at
                index = leg.gap_index(pause_s)
                gaps[index] = gaps.get(index, 0) + 1
                record.gaps_s += pause_s
            before = leg
    record.gaps = gaps


def _place(stream: RequestStream) -> str:
    worker_id, dp_rank = stream.placement.rank.key
    return f"{worker_id}/{dp_rank}"


def _places(streams: Sequence[RequestStream]) -> tuple[str, ...]:
    """Names the places of legs, each once, and how many more there are than are named."""
    named = tuple(dict.fromkeys(map(_place, streams)))
    return named if len(named) <= WORKERS_MAX else (*named[:WORKERS_MAX], "…")
