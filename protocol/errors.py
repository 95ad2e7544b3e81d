"""Names every way a request can fail, with the one table that says what HTTP makes of it.

    MeshError
    ├── InvalidRequest            the client must change the request
    │   ├── InvalidJson
    │   ├── UnsupportedParameter
    │   └── ContextOverflow       prompt_tokens, max_tokens, context_length
    ├── ModelNotFound
    ├── Conflict                  what an operator asks does not go with how a worker is now
    ├── RouteNotFound
    ├── ForeignHost               a web page's request under a name that is not this host's
    ├── MethodNotAllowed
    ├── UnsupportedMediaType
    ├── RangeNotSatisfiable       a part was asked for that is not there; size_bytes
    ├── BodyTooLarge              limit_bytes
    ├── NoWorker                  nobody serves the model now
    ├── Overloaded                every worker is full and so is the queue
    ├── ShuttingDown              this frontend drains
    ├── DeadlineExceeded
    ├── ClientGone                the client left; nothing is sent any more
    ├── RequestAborted            a client asked for its end, by name
    ├── WorkerLost                the worker died, fell silent or left; cause
    │   └── EncoderLost           what another worker made of pictures could not be had from it
    ├── PoisonRequest             engines died of this request, or of its twin
    ├── EngineFault               the engine refused or broke
    ├── NotConforming             the answer is not what its schema says
    ├── InternalFault             a defect of the frontend itself
    └── ProtocolViolation         bytes that are no message; no client hears of it

A worker names a leaf by its `code` on the wire (`protocol.replies.Failed`); `error_from_code` makes
it an exception again.
"""

from collections.abc import Awaitable
from typing import ClassVar, Final, Literal


class MeshError(Exception):
    """A MeshError is any failure that has a code of its own on the wire and in HTTP answers.

    `message` is written for the client: no path, address or stack trace belongs in it.

    Attributes:
        code: OpenAI's `error.code`, also the name of the leaf on the wire.
        param: the request field at fault, or None.
        retryable: another worker, or the same one later, may succeed.
        retry_after_s: seconds for the Retry-After header, or None.
    """

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    retry_after_s: int | None = None

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(MeshError):
    code = "invalid_value"


class InvalidJson(InvalidRequest):
    code = "invalid_json"


class UnsupportedParameter(InvalidRequest):
    code = "unsupported_parameter"


class ContextOverflow(InvalidRequest):
    code = "context_length_exceeded"

    @classmethod
    def of(
        cls, *, prompt_tokens: int, max_tokens: int, context_length: int, param: str
    ) -> "ContextOverflow":
        """Returns the error with both token counts in its text, as OpenAI words it."""
        wanted = (
            f"{prompt_tokens + max_tokens} tokens ({prompt_tokens} in the prompt, {max_tokens} "
            "in the completion)"
        )
        return cls(
            f"This model's maximum context length is {context_length} tokens. However, you "
            f"requested {wanted}."
            " Please reduce the length of the prompt or the completion.",
            param=param,
        )


class ModelNotFound(MeshError):
    code = "model_not_found"


class Conflict(MeshError):
    code = "conflict"


class RouteNotFound(MeshError):
    code = "route_not_found"


class ForeignHost(MeshError):
    code = "foreign_host"


class MethodNotAllowed(MeshError):
    """A MethodNotAllowed says that an HTTP path does not take the method of the request.

    Attributes:
        allow: the methods that the path takes, for the header of that name.
    """

    code = "method_not_allowed"

    def __init__(
        self, message: str, *, param: str | None = None, allowed: tuple[str, ...] = ("POST",)
    ) -> None:
        super().__init__(message, param=param)
        self.allow = ", ".join(sorted([*allowed, "OPTIONS"]))


class UnsupportedMediaType(MeshError):
    code = "unsupported_media_type"


class RangeNotSatisfiable(MeshError):
    """A RangeNotSatisfiable says that nothing is there of the part that a client asked for.

    Attributes:
        size_bytes: of the whole.
    """

    code = "range_not_satisfiable"

    def __init__(self, message: str, *, param: str | None = None, size_bytes: int = 0) -> None:
        super().__init__(message, param=param)
        self.size_bytes = size_bytes


class BodyTooLarge(MeshError):
    code = "body_too_large"


class BodyTooSlow(MeshError):
    code = "body_timeout"


class NoWorker(MeshError):
    code = "no_worker"
    retryable = True
    retry_after_s = 2  # a restarted worker is back in the mesh within this if its engine is up


class Overloaded(MeshError):
    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(MeshError):
    code = "deadline_exceeded"


class ClientGone(MeshError):
    code = "client_gone"


class RequestAborted(MeshError):
    code = "request_aborted"


class ShuttingDown(MeshError):
    code = "shutting_down"
    retryable = True
    retry_after_s = 1  # another frontend takes it at once


LossCause = Literal["stopped", "died", "silent", "unhealthy", "restarted", "out_of_step"]
"""Says why a worker is one no longer: it left on purpose; its process or engine died; nothing was
heard from it; its engine does not answer; it introduced itself anew; messages between us were lost.
"""


class WorkerLost(MeshError):
    """A WorkerLost says that the worker is gone, or silent, that a request was sent to.

    Attributes:
        cause: why the worker is one no longer.
        bystander: the request was in the engine's queue and not near its turn.
        doubt: comes to whether it is a bystander, where that is not known yet.
    """

    code = "worker_lost"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        cause: LossCause = "stopped",
        bystander: bool = False,
        doubt: Awaitable[bool] | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.cause: LossCause = cause
        self.bystander = bystander
        self.doubt = doubt


class EncoderLost(WorkerLost):
    """An EncoderLost says that what another worker made of a request's pictures did not arrive at
    the one that was to run it.
    """

    code = "encoder_lost"


class PoisonRequest(MeshError):
    code = "poison_request"


class EngineFault(MeshError):
    code = "engine_fault"


class NotConforming(MeshError):
    code = "answer_not_conforming"


class InternalFault(MeshError):
    code = "internal_error"


class ProtocolViolation(MeshError):
    code = "protocol_violation"


HTTP: Final[dict[type[MeshError], tuple[int, str]]] = {
    InvalidRequest: (400, "invalid_request_error"),
    InvalidJson: (400, "invalid_request_error"),
    UnsupportedParameter: (400, "invalid_request_error"),
    ContextOverflow: (400, "invalid_request_error"),
    ModelNotFound: (404, "invalid_request_error"),
    ForeignHost: (403, "invalid_request_error"),
    Conflict: (409, "invalid_request_error"),
    RouteNotFound: (404, "invalid_request_error"),
    MethodNotAllowed: (405, "invalid_request_error"),
    UnsupportedMediaType: (415, "invalid_request_error"),
    RangeNotSatisfiable: (416, "invalid_request_error"),
    BodyTooLarge: (413, "invalid_request_error"),
    BodyTooSlow: (408, "invalid_request_error"),
    NoWorker: (503, "service_unavailable_error"),
    Overloaded: (503, "service_unavailable_error"),
    ShuttingDown: (503, "service_unavailable_error"),
    DeadlineExceeded: (504, "timeout_error"),
    ClientGone: (499, "cancelled"),
    RequestAborted: (499, "cancelled"),
    WorkerLost: (502, "server_error"),
    EncoderLost: (502, "server_error"),
    PoisonRequest: (500, "server_error"),
    EngineFault: (500, "server_error"),
    NotConforming: (500, "server_error"),
    InternalFault: (500, "server_error"),
    ProtocolViolation: (500, "server_error"),
}
"""Maps each leaf of MeshError to its HTTP status and OpenAI's `error.type`.

Every leaf has a row (tests/unit/protocol/test_errors.py).
"""

_BY_CODE: Final = {leaf.code: leaf for leaf in HTTP}


def error_from_code(code: str, message: str, param: str | None = None) -> MeshError:
    """Returns the exception that a worker named by its code; a code of a newer version than ours
    counts as an engine fault.
    """
    return _BY_CODE.get(code, EngineFault)(message, param=param)
