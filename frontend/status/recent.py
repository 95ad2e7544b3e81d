"""Remembers how requests ended lately: how many, what went wrong and in how many ways."""

from dataclasses import dataclass
from typing import Final

from frontend.observe.request_record import RequestRecord
from frontend.status.snapshot import ErrorStatus
from protocol.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    Conflict,
    ContextOverflow,
    DeadlineExceeded,
    EncoderLost,
    EngineFault,
    ForeignHost,
    HandoverFailed,
    InternalFault,
    InvalidJson,
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    NotConforming,
    NoWorker,
    Overloaded,
    PoisonRequest,
    RangeNotSatisfiable,
    RequestAborted,
    RouteNotFound,
    ShuttingDown,
    UnsupportedMediaType,
    UnsupportedParameter,
    WorkerLost,
)

ERRORS_MAX: Final = 50
"""Bounds the ways of going wrong that are remembered, some 300 bytes each: endpoints and codes are
ours, so that there are hundreds at most, and those of late are what one looks for.
"""

ERRORS_S_MAX: Final = 900.0
"""Is how long an error is shown: as long as whoever is called in the night takes to look."""

WORDS: Final[dict[str, str]] = {
    InvalidRequest.code: "A field of the request has a value that cannot be served.",
    InvalidJson.code: "The body was not JSON.",
    UnsupportedParameter.code: "The request asks for something that is not served here.",
    ContextOverflow.code: "Prompt and answer together are longer than the model's context.",
    ModelNotFound.code: "The model that was named is not served here.",
    Conflict.code: "What was asked cannot be done while something else goes on.",
    RouteNotFound.code: "There is no such page.",
    ForeignHost.code: "A web page called under a name that is not this host's.",
    MethodNotAllowed.code: "The path does not take this method.",
    UnsupportedMediaType.code: "The body was of a type that is not read here.",
    RangeNotSatisfiable.code: "A part was asked for that is not there.",
    BodyTooLarge.code: "The body was larger than --body-limit-mb allows.",
    BodyTooSlow.code: "The client sent its body too slowly.",
    NoWorker.code: "No worker served the model at that moment. Start one, or look why it left.",
    Overloaded.code: "All workers were full and nobody could wait. Add workers.",
    ShuttingDown.code: "This frontend was shutting down. Clients should ask another one.",
    DeadlineExceeded.code: "The answer was not finished in time. Workers are slow or too few.",
    ClientGone.code: "The client left before its answer was finished.",
    RequestAborted.code: "A client ended it by name, or an operator all that ran on its worker.",
    WorkerLost.code: "Its worker was lost, and it could not go on elsewhere. See the workers.",
    EncoderLost.code: "The pictures that another worker encoded could not be had from it.",
    HandoverFailed.code: "Two workers do not hand caches over. See what keeps them apart.",
    PoisonRequest.code: "Engines died of this request, so it is not tried again. See their logs.",
    EngineFault.code: "The engine refused the request or broke. See the worker's log.",
    NotConforming.code: "The answer was not what its schema promises.",
    InternalFault.code: "A defect of this frontend. Its log has the trace.",
}
"""Says of each error, by its code, what happened; nothing in it is the client's."""


@dataclass(slots=True)
class _Errors:
    """_Errors are those of one code, endpoint and model."""

    status: int
    count: int
    first: float
    last: float
    request_id: str


class Recent:
    """Recent counts requests as they end.

    Attributes:
        ended: all of them.
        failed: those that failed by no fault of the client's.
    """

    def __init__(self) -> None:
        self.ended = self.failed = 0
        self._errors: dict[tuple[str, str, str], _Errors] = {}
        """Maps code, endpoint and model to the errors, the latest last."""

    def note(self, record: RequestRecord) -> None:
        """Counts a request that ended."""
        self.ended += 1
        if not record.error:
            return
        self.failed += record.status >= 500
        unix_s = record.came_unix_s + record.took_s
        key = (record.error, record.path, record.model)
        errors = self._errors.pop(key, None) or _Errors(record.status, 0, unix_s, unix_s, "")
        errors.count += 1
        errors.last, errors.request_id = unix_s, record.mesh_id
        self._errors[key] = errors
        if len(self._errors) > ERRORS_MAX:
            del self._errors[next(iter(self._errors))]

    def errors(self, unix_s: float) -> list[ErrorStatus]:
        """Returns what went wrong lately, the latest first."""
        return [
            ErrorStatus(
                code=code,
                status=errors.status,
                endpoint=endpoint,
                model=model,
                what=WORDS.get(code, "Something else went wrong."),
                count=errors.count,
                first_unix_s=round(errors.first, 1),
                last_unix_s=round(errors.last, 1),
                request_id=errors.request_id,
            )
            for (code, endpoint, model), errors in reversed(self._errors.items())
            if unix_s - errors.last <= ERRORS_S_MAX
        ]
