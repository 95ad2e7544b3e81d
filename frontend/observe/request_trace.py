"""Keeps a request's place in its trace, from its coming to its end."""

from time import perf_counter
from typing import TYPE_CHECKING, Final

from protocol.trace_context import TraceContext, read_trace_context

if TYPE_CHECKING:
    from protocol.process.spans import Spans

TRACE_RESPONSE: Final = b"traceresponse"
"""Names the header that tells a client the trace of its request (W3C Trace Context, level 2)."""


class RequestTrace:
    """A RequestTrace says where a request is in its trace, and translates its times.

    Args:
        traceparent, tracestate: the client's own headers.
        method, path: of HTTP; the path's pattern.
        came_at: when it came, by perf_counter.
        came_unix_s: the same by the wall clock.
    Attributes:
        caller: the client's own span; None if it named none, or none that can be read.
        context: names the request's span.
        read_at: when its body was there, by perf_counter; 0 while it is not.
    """

    __slots__ = ("_unix_ns", "caller", "came_at", "context", "method", "read_at")

    def __init__(
        self,
        spans: "Spans",
        traceparent: str | None,
        tracestate: str,
        *,
        method: str,
        path: str,
        came_at: float,
        came_unix_s: float,
    ) -> None:
        self.caller = read_trace_context(traceparent, tracestate)
        self.context: TraceContext = spans.begin(self.caller, f"{method} {path}")
        self.method = method
        self.came_at = came_at
        self.read_at = 0.0
        self._unix_ns = int((came_unix_s - came_at) * 1e9)
        """Is what the wall clock said at 0 s."""

    @property
    def header(self) -> tuple[bytes, bytes]:
        """Returns the header of the answer."""
        return TRACE_RESPONSE, self.context.traceparent.encode()

    def note_read(self) -> None:
        """Takes note that the body is there."""
        self.read_at = perf_counter()

    def unix_ns(self, at: float) -> int:
        """Returns a time by perf_counter as spans say it."""
        return self._unix_ns + int(at * 1e9)
