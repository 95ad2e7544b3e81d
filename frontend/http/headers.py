"""Lists the headers that an exchange reads, and makes those that it sends."""

from typing import Final

from frontend.http import request_id
from frontend.http.body_forms import ACCEPTED
from frontend.http.routing_headers import HEADER_FIELDS
from protocol.errors import (
    BodyTooLarge,
    InvalidRequest,
    MeshError,
    MethodNotAllowed,
    RangeNotSatisfiable,
    ShuttingDown,
    UnsupportedMediaType,
)

TIMEOUT_HEADER: Final = b"x-request-timeout-ms"
"""Names the header that says how long a client is willing to wait; it can only shorten what
--request-timeout allows.
"""

_TIMEOUT_DIGITS_MAX: Final = 12
"""Bounds the digits of a timeout: thirty years; int() takes its time over thousands of digits."""

JSON: Final = (b"content-type", b"application/json")
OF_BODY: Final = frozenset((b"content-length", b"content-type", b"content-encoding"))
"""Names the headers that say what a body is."""

READ_HEADERS: Final = frozenset(
    (
        request_id.HEADER,
        b"traceparent",
        b"tracestate",
        *OF_BODY,
        TIMEOUT_HEADER,
        *HEADER_FIELDS,
    )
)
"""Names the headers that are read; most headers of most clients are none of these."""

EVENTS: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def timeout_s_of(value: bytes) -> float:
    """Returns how many seconds a client is willing to wait, by its header in milliseconds.

    Raises:
        InvalidRequest: it is no positive number.
    """
    milliseconds = int(value) if value.isdigit() and len(value) <= _TIMEOUT_DIGITS_MAX else 0
    if not milliseconds:
        raise InvalidRequest(
            f"The header {TIMEOUT_HEADER.decode()} must be a positive number of milliseconds, "
            f"got {value[:100].decode('latin-1')!r}.",
            param=TIMEOUT_HEADER.decode(),
        )
    return milliseconds / 1000


def error_headers(error: MeshError, *, closing: bool) -> tuple[tuple[bytes, bytes], ...]:
    """Returns what an error says in headers; with `closing` the connection ends with it."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if isinstance(error, UnsupportedMediaType):
        headers += ACCEPTED
    if isinstance(error, RangeNotSatisfiable):
        headers.append((b"content-range", b"bytes */%d" % error.size_bytes))
    if closing or isinstance(error, BodyTooLarge | ShuttingDown):
        # The rest of the body is not worth reading; the connection must go to another.
        headers.append((b"connection", b"close"))
    return tuple(headers)
