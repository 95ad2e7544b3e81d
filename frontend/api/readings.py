"""Which answers are read by the worker, with its engine's parsers, instead of being detokenized here."""

from typing import Any, Final, cast

import msgspec

from frontend.api.sampling import stop_strings
from frontend.api.schemas import ChatCompletionRequest, CompletionRequest
from protocol.membership import ModelCard
from protocol.requests import Reading

_PARSED_BY: Final = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "chat_template_kwargs",
    "reasoning_effort",
    "separate_reasoning",
    "stream_reasoning",
)
"""Fields of a chat that the engine's parsers go by."""

_encode = msgspec.json.Encoder().encode


def reading_of(request: ChatCompletionRequest | CompletionRequest, card: ModelCard) -> Reading | None:
    """What the worker is to read; None if the answer is plain text."""
    if not isinstance(request, ChatCompletionRequest) or not (_thinks(request, card) or _calls(request, card)):
        return None
    fields = {name: value for name in _PARSED_BY if (value := getattr(request, name)) is not None}
    return Reading(
        chat=_encode({"model": card.name, **fields}),
        calls_before=sum(_calls_in(message) for message in request.messages),
        stops=list(stop_strings(request)),
        include_stop=request.shows_stop,
        skip_special_tokens=request.skip_special_tokens is not False,
    )


def _thinks(request: ChatCompletionRequest, card: ModelCard) -> bool:
    return bool(card.reasoning_parser) and request.separate_reasoning is not False


def _calls(request: ChatCompletionRequest, card: ModelCard) -> bool:
    """Without a parser a call can still be forced: the engine is then held to JSON."""
    if not request.tools or request.tool_choice == "none":
        return False
    return bool(card.tool_call_parser) or request.tool_choice not in (None, "auto")


def _calls_in(message: dict[str, Any]) -> int:
    calls = message.get("tool_calls")
    return len(cast("list[Any]", calls)) if isinstance(calls, list) else 0
