"""response_format and its relatives → the grammar that the output must conform to."""

from frontend.api.schemas import ChatCompletionRequest, CompletionRequest
from protocol.requests import Grammar


def grammar_of(request: ChatCompletionRequest | CompletionRequest) -> Grammar | None:
    """What the request says its answer must look like; None if it may be any text."""
    del request
    return None
