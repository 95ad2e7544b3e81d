"""What OpenAI knows and this version does not do is refused, never silently dropped."""

from frontend.api.schemas import ChatCompletionRequest, CompletionRequest
from protocol.errors import InvalidRequest, UnsupportedParameter


def refuse_unsupported_chat(request: ChatCompletionRequest) -> None:
    """Raise for what cannot be honoured.

    Raises:
        UnsupportedParameter: naming the field.
        InvalidRequest: fields that contradict each other.
    """
    _refuse_common(request)
    if request.response_format is not None and request.response_format.get("type") != "text":
        raise _unsupported("response_format")
    if request.modalities not in (None, ["text"]):
        raise _unsupported("modalities")
    if request.add_generation_prompt and request.continue_final_message:
        raise InvalidRequest("add_generation_prompt and continue_final_message exclude each other.", param="continue_final_message")


def refuse_unsupported_completion(request: CompletionRequest) -> None:
    """As `refuse_unsupported_chat`, for completions."""
    _refuse_common(request)
    if request.suffix:
        raise _unsupported("suffix")
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise _unsupported("best_of")


def _refuse_common(request: ChatCompletionRequest | CompletionRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise InvalidRequest("stream_options is only allowed when stream is true.", param="stream_options")


def _unsupported(name: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"{name} is not supported (with this value) by this server yet.", param=name)
