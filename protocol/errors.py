"""Names every way a request can fail; protocol/error_answers.py says what HTTP makes of each.

Each leaf of MeshError says when it happens, in a sentence that docs/errors.md repeats to clients.
InvalidRequest has further leaves (InvalidJson, UnsupportedParameter, ContextOverflow), and so has
WorkerLost (EncoderLost, HandoverFailed).

A worker names a leaf by its `code` on the wire (`protocol.replies.Failed`); `error_from_code` makes
it an exception again.
"""

from collections.abc import Awaitable, Iterator
from typing import ClassVar, Final

from protocol.losses import MoveCause


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
    """An InvalidRequest says that a field has a value that it cannot have."""

    code = "invalid_value"


class InvalidJson(InvalidRequest):
    """An InvalidJson says that the body is no JSON object, or no form where one is taken."""

    code = "invalid_json"


class UnsupportedParameter(InvalidRequest):
    """An UnsupportedParameter says that a field asks for what cannot be done here."""

    code = "unsupported_parameter"


class ContextOverflow(InvalidRequest):
    """A ContextOverflow says that prompt and answer together exceed the model's context."""

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
    """A ModelNotFound says that no worker has served a model of this name here."""

    code = "model_not_found"


class Conflict(MeshError):
    """A Conflict says that what is asked of a worker does not go with how it is now."""

    code = "conflict"


class RouteNotFound(MeshError):
    """A RouteNotFound says that there is no such path."""

    code = "route_not_found"


class ForeignHost(MeshError):
    """A ForeignHost says that a web page asked under a name that is not this host's."""

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
    """An UnsupportedMediaType says that the body is of a type, charset or compression that the path
    does not take.
    """

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
    """A BodyTooLarge says that the body is larger than --body-limit-mb."""

    code = "body_too_large"


class BodyTooSlow(MeshError):
    """A BodyTooSlow says that the body did not come in time."""

    code = "body_timeout"


class NoWorker(MeshError):
    """A NoWorker says that nobody serves the model at this moment."""

    code = "no_worker"
    retryable = True
    retry_after_s = 2  # a restarted worker is back in the mesh within this if its engine is up


class Overloaded(MeshError):
    """An Overloaded says that every worker is full, and so is the queue, or whatever else bounds
    the request's way.
    """

    code = "overloaded"
    retryable = True

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, param=param)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(MeshError):
    """A DeadlineExceeded says that the request was not finished in its time (--request-timeout)."""

    code = "deadline_exceeded"


class ClientGone(MeshError):
    """A ClientGone says that the client left; nothing is sent any more, and only metrics and the
    log tell of it.
    """

    code = "client_gone"


class RequestAborted(MeshError):
    """A RequestAborted says that a client asked for the request's end by its name, or an operator
    for that of all that ran on its worker.
    """

    code = "request_aborted"


class ShuttingDown(MeshError):
    """A ShuttingDown says that this frontend is leaving; another one, or the same a little later,
    takes the request.
    """

    code = "shutting_down"
    retryable = True
    retry_after_s = 1  # another frontend takes it at once


class WorkerLost(MeshError):
    """A WorkerLost says that the worker is gone, or silent, that a request was sent to.

    Attributes:
        cause: why the request cannot stay there.
        bystander: the request was in the engine's queue and not near its turn.
        doubt: comes to whether it is a bystander, where that is not known yet.
    """

    code = "worker_lost"
    retryable = True
    cause: MoveCause = "stopped"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        cause: MoveCause | None = None,
        bystander: bool = False,
        doubt: Awaitable[bool] | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.cause = cause or self.cause
        self.bystander = bystander
        self.doubt = doubt


class EncoderLost(WorkerLost):
    """An EncoderLost says that what another worker made of a request's pictures did not arrive at
    the one that was to run it.
    """

    code = "encoder_lost"


class HandoverFailed(WorkerLost):
    """A HandoverFailed says that the KV cache of a prompt did not come over from the worker that
    computed it to the one that was to generate, as when the two do not reach each other.
    """

    code = "handover_failed"
    cause: MoveCause = "not_handed_over"


class PoisonRequest(MeshError):
    """A PoisonRequest says that engines died of this request or of its twin, so that no further one
    is given it.
    """

    code = "poison_request"


class EngineFault(MeshError):
    """An EngineFault says that the engine refused the request, or broke at it."""

    code = "engine_fault"


class NotConforming(MeshError):
    """A NotConforming says that the answer ended by itself and is not what was promised of it, as
    by a schema.
    """

    code = "answer_not_conforming"


class InternalFault(MeshError):
    """An InternalFault says that the frontend has a defect; its log has the cause under the
    request's id.
    """

    code = "internal_error"


class ProtocolViolation(MeshError):
    """A ProtocolViolation says that what came over the mesh is no message; no client hears it."""

    code = "protocol_violation"


def _leaves(kind: type[MeshError]) -> Iterator[type[MeshError]]:
    for leaf in kind.__subclasses__():
        yield leaf
        yield from _leaves(leaf)


_BY_CODE: Final = {leaf.code: leaf for leaf in _leaves(MeshError)}


def error_from_code(code: str, message: str, param: str | None = None) -> MeshError:
    """Returns the exception that a worker named by its code; a code of a newer version than ours
    counts as an engine fault.
    """
    return _BY_CODE.get(code, EngineFault)(message, param=param)
