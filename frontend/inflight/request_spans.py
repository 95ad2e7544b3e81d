"""Makes the spans of a request when it has ended: one for the request, and below it one for each
stage of each of its legs.

They tell counts, times and names of ours; nothing of a prompt or an answer. All times are those of
perf_counter.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.inflight.diffusion import Diffusion
from frontend.inflight.embeddings import Embeddings
from frontend.inflight.generation import Generation
from frontend.observe.request_record import RequestRecord
from frontend.observe.request_trace import RequestTrace
from frontend.routing.route import Placement
from protocol.errors import MeshError, WorkerLost

if TYPE_CHECKING:
    from protocol.process.spans import Attribute, Event, Spans

CHOICES_MAX: Final = 16
"""Bounds the choices of a request whose legs have spans: some 80 spans. The others are counted."""

OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/generate": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/images/generations": "generate_content",
    "/v1/images/edits": "generate_content",
}
"""Maps a path to what OpenTelemetry calls its operation, where it has a word for it."""


def add_request_spans(
    spans: "Spans", trace: RequestTrace, record: RequestRecord, work: object
) -> None:
    """Records the spans of a request that has ended, if its trace is sampled.

    Args:
        work: what ran for it on workers.
    """
    if not trace.context.sampled:
        return
    came_at = trace.came_at
    events = _Below(spans, trace).add_stages(record, work)
    spans.add(
        f"{trace.method} {record.path}",
        trace.context,
        trace.caller,
        times_ns=(trace.unix_ns(came_at), trace.unix_ns(came_at + record.took_s)),
        attributes=_attributes(record, trace.method),
        serves=True,
        error=record.error,
        events=events,
    )


class _Below:
    """A _Below records the spans below that of a request."""

    def __init__(self, spans: "Spans", trace: RequestTrace) -> None:
        self._spans = spans
        self._trace = trace

    def add_stages(self, record: RequestRecord, work: object) -> "list[Event]":
        """Records a span for each stage of the request; returns what happened to it."""
        if record.prepared_s is None:
            return []
        came_at = self._trace.came_at
        prepared_at, ended_at = came_at + record.prepared_s, came_at + record.took_s
        self._add("tokenize", self._trace.read_at or came_at, prepared_at)
        events: list[Event] = []
        last = 0.0
        for index, legs in _legs(work):
            for leg, following in zip(legs, (*legs[1:], None), strict=True):
                until = ended_at if following is None else following.asked_at
                last = max(last, self._add_leg(leg, index, until))
                if following is not None:
                    events.append(self._moved(leg, following, index))
        if last:
            self._add("finish", last, ended_at)
        else:  # it found no worker
            self._add("queue", prepared_at, ended_at, error=record.error)
        return events

    def _add_leg(self, leg: RequestStream, index: int, until: float) -> float:
        """Records the stages of a leg of that choice, which is over at `until` at the latest;
        returns when it ended.
        """
        sent, begun = leg.routed_at, leg.first_at
        end = leg.ended_at or (leg.last_at if leg.error is None else 0.0) or until
        error, here = _code(leg.error), _place(leg.placement)
        self._add("queue", leg.asked_at, sent - leg.routing_s, index)
        self._add("route", sent - leg.routing_s, sent, index, here)
        prefill = None
        for helper in leg.helpers:
            computes = helper.placement is leg.prefill_placement
            prefill = helper if computes else prefill
            self._add(
                "prefill" if computes else "encode",
                sent,
                helper.ended_at or begun or end,
                index,
                _place(helper.placement),
                error=_code(helper.error),
            )
        if leg.embedded is not None or leg.diffused is not None:
            self._add("compute", sent, end, index, here)
            return end
        name = "prefill"
        if prefill is not None:  # its KV cache comes over
            name, sent = "hand_over", min(prefill.ended_at or end, begun or end)
        self._add(name, sent, begun or end, index, here, error="" if begun else error)
        if begun:
            tokens = {"gen_ai.usage.output_tokens": leg.tokens_received}
            self._add("decode", begun, end, index, here | tokens, error=error)
        return end

    def _moved(self, leg: RequestStream, following: RequestStream, index: int) -> "Event":
        error = leg.error
        name, cause = "refused", _code(error)
        if isinstance(error, WorkerLost):
            name, cause = "moved", error.cause
        attributes: dict[str, Attribute] = {
            "kvmesh.choice": index,
            "kvmesh.move.cause": cause,
            "kvmesh.move.from": leg.lost_on,
            "kvmesh.move.to": following.worker_id,
            "gen_ai.usage.output_tokens": leg.tokens_received,
        }
        return name, self._trace.unix_ns(following.asked_at), attributes

    def _add(
        self,
        name: str,
        start: float,
        end: float,
        index: int | None = None,
        attributes: "dict[str, Attribute] | None" = None,
        *,
        error: str = "",
    ) -> None:
        trace, told = self._trace, dict(attributes or {})
        if index is not None:
            told["kvmesh.choice"] = index
        self._spans.add(
            name,
            self._spans.below(trace.context),
            trace.context,
            times_ns=(trace.unix_ns(start), trace.unix_ns(end)),
            attributes=told,
            error=error,
        )


def _legs(work: object) -> Iterator[tuple[int, tuple[RequestStream, ...]]]:
    """Yields the choices of what ran, by their index, with their legs, the present one last."""
    if isinstance(work, Generation):
        for choice in work.choices[:CHOICES_MAX]:
            yield choice.index, (*choice.earlier_legs, choice.stream)
    elif isinstance(work, Diffusion | Embeddings) and work.stream is not None:
        yield 0, (work.stream,)


def _place(placement: Placement[Rank]) -> "dict[str, Attribute]":
    worker_id, dp_rank = placement.rank.key
    return {"kvmesh.worker.id": worker_id, "kvmesh.worker.dp_rank": dp_rank}


def _attributes(record: RequestRecord, method: str) -> "dict[str, Attribute]":
    """Returns what the span of a request says of it."""
    told: dict[str, Attribute] = {
        "http.request.method": method,
        "http.route": record.path,
        "http.response.status_code": record.status,
        "gen_ai.provider.name": "kvmesh",
        "gen_ai.request.stream": record.streams,
        "kvmesh.request.id": record.request_id,
    }
    if record.path in OPERATIONS:
        told["gen_ai.operation.name"] = OPERATIONS[record.path]
    if record.model:
        told["gen_ai.request.model"] = record.model
    if record.error:
        told["error.type"] = record.error
    if record.workers:
        told["kvmesh.moves"] = record.moves
    if record.prompt_tokens:
        told["gen_ai.usage.input_tokens"] = record.prompt_tokens
    if record.choices:
        told |= {
            "gen_ai.request.choice.count": record.choices,
            "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "gen_ai.response.finish_reasons": record.finish.split(","),
        }
    if record.first_token_s is not None:
        told["gen_ai.response.time_to_first_chunk"] = record.first_token_s
    return told


def _code(error: MeshError | None) -> str:
    return "" if error is None else error.code
