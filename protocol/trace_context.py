"""Reads and writes the W3C trace context, by which the spans of all who take part in a request are
one trace (https://www.w3.org/TR/trace-context/).

Pure.
"""

import re
from dataclasses import dataclass
from typing import Final

TRACEPARENT_CHARS_MAX: Final = 64
"""Bounds a traceparent: version 00 has 55 characters, and of a later one no more is read."""

TRACESTATE_CHARS_MAX: Final = 512
"""Bounds a tracestate, as the standard does: a longer one may be left out."""

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A TraceContext names a span of a trace, as those below it are told.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        sampled: the trace is recorded.
        tracestate: what tracing systems say to each other, as it came.
    """

    trace_id: int
    span_id: int
    sampled: bool
    tracestate: str = ""

    @property
    def traceparent(self) -> str:
        """Returns it as the header says it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.sampled else '00'}"


def read_trace_context(traceparent: str | None, tracestate: str | None = "") -> TraceContext | None:
    """Returns what a caller's two headers say; None if they say nothing that can be understood, and
    the trace begins anew.
    """
    found = _TRACEPARENT.fullmatch(traceparent or "")
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    trace, span = int(trace_id, 16), int(span_id, 16)
    if version == "ff" or (version == "00" and rest is not None) or not trace or not span:
        return None
    return TraceContext(trace, span, bool(int(flags, 16) & _SAMPLED), tracestate or "")


def joined_tracestate(before: str, value: bytes) -> str:
    """Returns the tracestate of one header more than those `before`; empty if it is too long to be
    handed on.
    """
    text = value.decode("latin-1")
    joined = f"{before},{text}" if before else text
    return joined if len(joined) <= TRACESTATE_CHARS_MAX else ""
