"""Defines the forms that errors take: a body where nothing was sent yet, events that end a stream
where something was.
"""

from typing import Final, Protocol

from protocol.error_answers import error_body
from protocol.errors import MeshError


class ErrorForm(Protocol):
    """An ErrorForm says how one API tells that something went wrong."""

    def body(self, error: MeshError) -> bytes:
        """Returns the JSON body of an error's answer."""
        ...

    def events(self, error: MeshError) -> bytes:
        """Returns the last events of a stream that had begun."""
        ...


class OpenAIErrors:
    """OpenAIErrors writes `{"error": {message, type, param, code}}`, also as an event.

    SGLang's clients read the same.
    """

    def body(self, error: MeshError) -> bytes:
        return error_body(error)

    def events(self, error: MeshError) -> bytes:
        return b"data: " + error_body(error) + b"\n\ndata: [DONE]\n\n"


OPENAI_ERRORS: Final = OpenAIErrors()
