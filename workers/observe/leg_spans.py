"""Records the spans of what a worker runs: one for each piece of work, in the trace of the request
that it is for, and below it what of it was prefill and what decode.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from protocol.generation import Finished
from protocol.replies import Delta, Failed
from protocol.requests import Work
from protocol.trace_context import TraceContext, read_trace_context

if TYPE_CHECKING:
    from protocol.process.spans import Attribute, Spans

OPEN_MAX: Final = 16_384
"""Bounds the pieces of work whose spans are open, some 500 bytes each; further ones have none."""


class _Leg:
    """A _Leg is a piece of work that has not ended. Times are ns since 1970."""

    __slots__ = ("begun_ns", "caller", "context", "taken_ns", "work")

    def __init__(self, work: Work, caller: TraceContext, context: TraceContext) -> None:
        self.work = work
        self.caller = caller
        self.context = context
        self.taken_ns = time.time_ns()
        self.begun_ns = 0


class LegSpans:
    """A LegSpans follows the pieces of work of sampled traces from their coming to their end.

    Whether a trace is sampled is decided by the frontend, which begins it.

    Attributes:
        stage: what of a request the worker does; empty for all of it.
    """

    def __init__(self, spans: "Spans", worker_id: str) -> None:
        self.stage = ""
        self._spans = spans
        self._worker_id = worker_id
        self._open: dict[str, _Leg] = {}

    def begin(self, work: Work) -> Work:
        """Returns a piece of work that is now taken, with the engine's part below ours."""
        caller = read_trace_context(work.traceparent, work.tracestate)
        if caller is None or not caller.sampled or len(self._open) >= OPEN_MAX:
            return work
        context = self._spans.below(caller)
        told = replace(work, traceparent=context.traceparent)
        self._open[work.request_id] = _Leg(told, caller, context)
        return told

    def note(self, deltas: Sequence[Delta]) -> None:
        """Takes note of what one step of the engine gave."""
        if not self._open:
            return
        for delta in deltas:
            leg = self._open.get(delta.request_id)
            if leg is None:
                continue
            if delta.token_ids and not leg.begun_ns:
                leg.begun_ns = time.time_ns()
            if delta.end is not None:
                del self._open[delta.request_id]
                self._end(leg, delta)

    def _end(self, leg: _Leg, last: Delta) -> None:
        ended_ns, end = time.time_ns(), last.end
        attributes: dict[str, Attribute] = {
            "gen_ai.request.model": leg.work.model,
            "kvmesh.request.id": leg.work.request_id,
            "kvmesh.worker.id": self._worker_id,
            "kvmesh.worker.dp_rank": leg.work.routed_dp_rank or 0,
        }
        if self.stage:
            attributes["kvmesh.worker.stage"] = self.stage
        error = end.code if isinstance(end, Failed) else ""
        if error:
            attributes["error.type"] = error
        if isinstance(end, Finished):
            attributes |= {
                "gen_ai.usage.input_tokens": end.prompt_tokens,
                "gen_ai.usage.cache_read.input_tokens": end.cached_tokens,
                "gen_ai.usage.output_tokens": end.completion_tokens,
                "gen_ai.response.finish_reasons": [end.reason],
            }
        name = type(leg.work).__name__.lower()
        self._spans.add(
            name,
            leg.context,
            leg.caller,
            times_ns=(leg.taken_ns, ended_ns),
            attributes=attributes,
            serves=True,
            error=error,
        )
        if leg.begun_ns:
            self._add_below(leg, "prefill", (leg.taken_ns, leg.begun_ns))
            self._add_below(leg, "decode", (leg.begun_ns, ended_ns))

    def _add_below(self, leg: _Leg, name: str, times_ns: tuple[int, int]) -> None:
        below = self._spans.below(leg.context)
        self._spans.add(name, below, leg.context, times_ns=times_ns, attributes={})
