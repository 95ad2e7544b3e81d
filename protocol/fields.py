"""Defines the field types that many messages share, each with its bound."""

from typing import Annotated

from msgspec import Meta

from protocol.limits import DP_RANKS_MAX, NAME_CHARS_MAX, PATH_CHARS_MAX, REQUEST_ID_CHARS
from protocol.trace_context import TRACEPARENT_CHARS_MAX, TRACESTATE_CHARS_MAX

RequestId = Annotated[str, Meta(min_length=REQUEST_ID_CHARS, max_length=REQUEST_ID_CHARS)]
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
PathName = Annotated[str, Meta(max_length=PATH_CHARS_MAX)]
Count = Annotated[int, Meta(ge=0, le=2**40)]
DpRank = Annotated[int, Meta(ge=0, lt=DP_RANKS_MAX)]
Positive = Annotated[int, Meta(ge=1, le=2**40)]
TraceParent = Annotated[str, Meta(max_length=TRACEPARENT_CHARS_MAX)]
TraceState = Annotated[str, Meta(max_length=TRACESTATE_CHARS_MAX)]
