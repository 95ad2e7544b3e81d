"""Writes errors as OpenAI sends them: the one form of every HTTP answer of a frontend or a worker
that says no.
"""

import msgspec

from protocol.errors import HTTP, MeshError

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
