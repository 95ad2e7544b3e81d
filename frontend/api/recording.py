"""Requests that are answered, and those that are open, become what metrics and the log tell of
them.
"""

from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING

from frontend.fleet.registry import Registry
from frontend.http.exchange import Exchange
from frontend.inflight.choice import Choice
from frontend.inflight.course import note_course
from frontend.inflight.generation import Generation
from frontend.inflight.request_log import log_request
from frontend.inflight.request_spans import add_request_spans
from frontend.observe.metrics import FrontendMetrics
from frontend.observe.request_metrics import At, OpenRequest
from frontend.observe.request_record import RequestRecord
from protocol.error_answers import error_status
from protocol.errors import MeshError

if TYPE_CHECKING:
    from protocol.process.spans import Spans


class Recording:
    """A Recording makes the one record of each request, at its end, and hands it on."""

    def __init__(
        self, registry: Registry, metrics: FrontendMetrics, spans: "Spans | None" = None
    ) -> None:
        self._registry = registry
        self._requests = metrics.requests
        self._recent = metrics.recent
        self._spans = spans

    def end(self, exchange: Exchange, path: str, error: MeshError | None) -> None:
        """Counts and logs a request that has ended.

        Args:
            path: its pattern, never what a client made up.
        """
        record = RequestRecord(
            request_id=exchange.told_id,
            mesh_id=exchange.request_id,
            endpoint=exchange.endpoint,
            path=path,
            runs_model=exchange.runs_model,
            model=self._model_of(exchange),
            streams=exchange.streams,
            traceparent=exchange.traceparent,
            came_unix_s=exchange.came_unix_s,
            took_s=perf_counter() - exchange.came_at,
            status=200 if error is None else error_status(error),
            error="" if error is None else error.code,
            message="" if error is None else error.message,
        )
        if exchange.prepared_at:
            record.prepared_s = exchange.prepared_at - exchange.came_at
            if exchange.tokenized_s:
                self._requests.note_text(exchange.rendered_s, exchange.tokenized_s)
        if exchange.work is not None:
            note_course(record, exchange.work, exchange.came_at)
        self._requests.note(record)
        self._recent.note(record)
        log_request(record, self._requests.gap_scale)
        if self._spans is not None and exchange.trace is not None:
            add_request_spans(self._spans, exchange.trace, record, exchange.work)

    def open(self, exchanges: Iterable[Exchange]) -> Iterator[OpenRequest]:
        """Yields what metrics see of those that are being answered and run a model."""
        for exchange in exchanges:
            if not exchange.runs_model:
                continue
            work, begun, tokens = exchange.work, False, 0
            if isinstance(work, Generation):
                tokens = sum([choice.completion_tokens for choice in work.choices])
                begun = any(_has_begun(choice) for choice in work.choices)
            yield OpenRequest(
                endpoint=exchange.endpoint,
                model=self._model_of(exchange),
                streams=exchange.streams,
                begun=begun,
                output_tokens=tokens,
                at=_at(exchange, begun=begun),
            )

    def _model_of(self, exchange: Exchange) -> str:
        """Returns the name of its model, also where that, or the adapter that it named, has gone
        since.
        """
        work = exchange.work
        return self._registry.name_of(exchange.model) if work is None else work.model


def _at(exchange: Exchange, *, begun: bool) -> At:
    work = exchange.work
    if not exchange.prepared_at:
        return "preprocess", ""
    if isinstance(work, Generation):
        stream = work.choices[0].stream if work.choices else None
    else:
        stream = getattr(work, "stream", None)
    if stream is None:
        return "route", ""
    leg = "decode" if begun else "prefill"
    return leg, "aggregated" if stream.prefill_placement is stream.placement else leg


def _has_begun(choice: Choice) -> bool:
    """Tells whether a first token came; of an answer that comes as a whole, whether it is on its
    way to a worker.
    """
    stream = choice.stream
    return bool(stream.first_at or choice.earlier_legs) or not stream.told_at_once
