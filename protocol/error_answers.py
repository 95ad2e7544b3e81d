"""Says what HTTP makes of errors, and writes them as OpenAI sends them: the one form of every HTTP
answer of a frontend or a worker that says no.
"""

from typing import Final

import msgspec

from protocol import errors
from protocol.errors import MeshError

HTTP: Final[dict[type[MeshError], tuple[int, str]]] = {
    errors.InvalidRequest: (400, "invalid_request_error"),
    errors.InvalidJson: (400, "invalid_request_error"),
    errors.UnsupportedParameter: (400, "invalid_request_error"),
    errors.ContextOverflow: (400, "invalid_request_error"),
    errors.ModelNotFound: (404, "invalid_request_error"),
    errors.ForeignHost: (403, "invalid_request_error"),
    errors.Conflict: (409, "invalid_request_error"),
    errors.RouteNotFound: (404, "invalid_request_error"),
    errors.MethodNotAllowed: (405, "invalid_request_error"),
    errors.UnsupportedMediaType: (415, "invalid_request_error"),
    errors.RangeNotSatisfiable: (416, "invalid_request_error"),
    errors.BodyTooLarge: (413, "invalid_request_error"),
    errors.BodyTooSlow: (408, "invalid_request_error"),
    errors.NoWorker: (503, "service_unavailable_error"),
    errors.Overloaded: (503, "service_unavailable_error"),
    errors.ShuttingDown: (503, "service_unavailable_error"),
    errors.DeadlineExceeded: (504, "timeout_error"),
    errors.ClientGone: (499, "cancelled"),
    errors.RequestAborted: (499, "cancelled"),
    errors.WorkerLost: (502, "server_error"),
    errors.EncoderLost: (502, "server_error"),
    errors.HandoverFailed: (502, "server_error"),
    errors.PoisonRequest: (500, "server_error"),
    errors.EngineFault: (500, "server_error"),
    errors.NotConforming: (500, "server_error"),
    errors.InternalFault: (500, "server_error"),
    errors.ProtocolViolation: (500, "server_error"),
}
"""Maps each leaf of MeshError to its HTTP status and OpenAI's `error.type`.

Every leaf has a row (tests/unit/protocol/test_errors.py).
"""

_encode = msgspec.json.Encoder().encode


def error_status(error: MeshError) -> int:
    """Returns the HTTP status of an error; a leaf that the table lacks is a defect of ours, hence
    500.
    """
    return HTTP.get(type(error), (500, ""))[0]


def error_body(error: MeshError) -> bytes:
    """Returns the JSON body of an error: `{"error": {message, type, param, code}}`."""
    kind = HTTP.get(type(error), (500, "server_error"))[1]
    return _encode(
        {
            "error": {
                "message": error.message,
                "type": kind,
                "param": error.param,
                "code": error.code,
            }
        }
    )
