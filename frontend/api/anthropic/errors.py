"""Errors of Anthropic's endpoints have the form in which Anthropic sends them."""

from typing import Final

import msgspec

from frontend.http.sse import named_event
from protocol.error_answers import error_status
from protocol.errors import MeshError

_encode = msgspec.json.Encoder().encode

_TYPES: Final = {
    400: "invalid_request_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class AnthropicErrors:
    """AnthropicErrors writes an error as Anthropic does, `{"type": "error", "error": {type,
    message}}`, with the field at fault named in the message.
    """

    def body(self, error: MeshError) -> bytes:
        return _encode(_told(error))

    def events(self, error: MeshError) -> bytes:
        return named_event(_told(error))


ANTHROPIC_ERRORS: Final = AnthropicErrors()


def _told(error: MeshError) -> dict[str, object]:
    named = (
        error.message
        if error.param is None or error.param in error.message
        else f"{error.param}: {error.message}"
    )
    return {
        "type": "error",
        "error": {"type": _TYPES.get(error_status(error), "api_error"), "message": named},
    }
