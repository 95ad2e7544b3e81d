"""Where an engine found the cached tokens of a prompt is told as SGLang's own server tells it."""

from collections.abc import Iterable
from typing import Any, Final

from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.inflight.choice import Choice
from protocol.generation import CachedBelow

_NONE_BELOW: Final = CachedBelow()


def sglext(
    request: ChatCompletionRequest | CompletionRequest, choices: Iterable[Choice]
) -> dict[str, Any] | None:
    """Returns an answer's `sglext`, about the first of its choices that has something to tell; None
    where nothing was asked for, or no choice found any cached token, as SGLang does.
    """
    if not request.return_cached_tokens_details:
        return None
    for choice in choices:
        if (details := cached_details(choice)) is not None:
            return {"cached_tokens_details": details}
    return None


def cached_details(choice: Choice) -> dict[str, Any] | None:
    """Returns how many cached tokens lay in the device's memory, how many in the host's and, where
    the engine keeps some there, in storage; together they are the choice's `cached_tokens`. None
    where there are none.
    """
    cached = choice.cached_tokens
    if not cached:
        return None
    below = choice.cached_below or _NONE_BELOW
    # bounds, since after a move the engine counts tokens that are not of the client's prompt
    host = min(below.host, cached)
    storage = min(below.storage or 0, cached - host)
    details: dict[str, Any] = {"device": cached - host - storage, "host": host}
    if below.storage is not None:
        details["storage"] = storage
    if below.storage_backend is not None:
        details["storage_backend"] = below.storage_backend
    return details
