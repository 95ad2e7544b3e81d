"""Gives an exchange its place in a trace."""

from typing import TYPE_CHECKING

from frontend.http.exchange import Exchange
from frontend.observe.request_trace import RequestTrace

if TYPE_CHECKING:
    from protocol.process.spans import Spans


def begin_trace(exchange: Exchange, spans: "Spans", path: str) -> None:
    """Gives an exchange a span in its client's trace, or in a new one, and has what is done for it
    be below that span; the client is told of it.

    Args:
        path: its pattern, never what a client made up.
    """
    exchange.trace = trace = RequestTrace(
        spans,
        exchange.traceparent,
        exchange.tracestate,
        method=exchange.scope["method"],
        path=path,
        came_at=exchange.came_at,
        came_unix_s=exchange.came_unix_s,
    )
    exchange.trace_header = trace.header
    exchange.traceparent = trace.context.traceparent
    exchange.tracestate = trace.context.tracestate
