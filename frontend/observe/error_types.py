"""Says what our errors are called in the reference product's metrics."""

from dataclasses import dataclass
from typing import Final

from protocol.error_answers import HTTP
from protocol.errors import (
    ClientGone,
    DeadlineExceeded,
    MeshError,
    NoWorker,
    Overloaded,
    PoisonRequest,
    ShuttingDown,
    WorkerLost,
)


@dataclass(frozen=True, slots=True)
class ErrorType:
    """An ErrorType is how the reference product's series call an error.

    Attributes:
        error_type: label of requests_total.
        failure_class, reason: labels of failures_total.
    """

    error_type: str
    failure_class: str
    reason: str


_INTERNAL: Final = ErrorType("internal", "Internal", "runtime.internal")
_INVALID: Final = ErrorType("validation", "InvalidRequest", "request.invalid")
_NOT_FOUND: Final = ErrorType("not_found", "NotFound", "request.not_found")

_BY_STATUS: Final = {
    400: _INVALID,
    403: _INVALID,
    404: _NOT_FOUND,
    405: _INVALID,
    408: _INVALID,
    413: ErrorType("validation", "PayloadTooLarge", "request.invalid"),
    415: ErrorType("validation", "UnsupportedMedia", "request.invalid"),
    416: _INVALID,
    499: ErrorType("cancelled", "Cancelled", "request.cancelled"),
}

_BY_LEAF: Final[dict[type[MeshError], ErrorType]] = {
    NoWorker: ErrorType("unavailable", "Unavailable", "backend.unavailable"),
    Overloaded: ErrorType("overload", "Overload", "backend.overloaded"),
    ShuttingDown: ErrorType("unavailable", "Unavailable", "backend.engine_shutdown"),
    DeadlineExceeded: ErrorType("response_timeout", "Timeout", "backend.response_timeout"),
    WorkerLost: ErrorType("unavailable", "Unavailable", "transport.disconnected"),
}


def _type_of(leaf: type[MeshError], status: int) -> ErrorType:
    own = next((told for known, told in _BY_LEAF.items() if issubclass(leaf, known)), None)
    return own or _BY_STATUS.get(status, _INTERNAL)


ERROR_TYPES: Final[dict[str, ErrorType]] = {
    leaf.code: _type_of(leaf, status) for leaf, (status, _) in HTTP.items()
}
"""Maps the code of each of our errors to what the reference product calls it."""

GONE: Final = ClientGone.code

REJECTIONS: Final = frozenset(
    leaf.code for leaf in (NoWorker, Overloaded, PoisonRequest, ShuttingDown)
)
"""Holds the codes of errors that turn away a request with which nothing is wrong in itself."""


def error_type_of(code: str) -> str:
    """Returns the reference product's word for an error's code; empty for none."""
    return ERROR_TYPES.get(code, _INTERNAL).error_type if code else ""
