"""Some answers are read by the worker, with its engine's parsers, instead of being detokenized
here.
"""

from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from frontend.api.fields.grammars import grammar_of
from frontend.api.fields.sampling import stop_strings
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.fields.tools import callable_tools, is_forced
from protocol.errors import InvalidRequest
from protocol.generation import Grammar, Reading
from protocol.membership import ModelCard

_THINKING: Final = (
    "chat_template_kwargs",
    "reasoning_effort",
    "separate_reasoning",
    "stream_reasoning",
)
_PARSED_BY: Final = ("tools", "tool_choice", "parallel_tool_calls", *_THINKING)
"""Names the fields of a chat that the engine's parsers go by."""

_encode = msgspec.json.Encoder().encode


def answer_grammar(request: ChatCompletionRequest | CompletionRequest) -> Grammar | None:
    """Returns the grammar that the text of an answer must conform to; None if there is none.

    Where a call is forced there is no other answer for a response format to speak of.

    Raises:
        InvalidRequest: as `grammar_of`.
    """
    grammar = grammar_of(request)
    if (
        grammar is None
        or not _is_response_format(grammar)
        or not isinstance(request, ChatCompletionRequest)
    ):
        return grammar
    return None if request.tools and is_forced(request.tool_choice) else grammar


def reading_of(
    request: ChatCompletionRequest | CompletionRequest, card: ModelCard, grammar: Grammar | None
) -> Reading | None:
    """Returns what the worker is to read of an answer; None if it is plain text, of which the
    frontend can make text itself.

    Raises:
        InvalidRequest: a tool must be called and the answer must conform to a grammar.
    """
    if not isinstance(request, ChatCompletionRequest):
        return _plain(request) if card.tokenizes else None
    calls = _calls(request, card, grammar)
    if not calls and not _thinks(request, card, grammar):
        return _plain(request) if card.tokenizes else None
    names = _PARSED_BY if calls else _THINKING
    fields = {name: value for name in names if (value := getattr(request, name)) is not None}
    if calls:
        tools, choice = callable_tools(request)
        fields |= {"tools": tools} if choice is None else {"tools": tools, "tool_choice": choice}
    return replace(
        _plain(request),
        chat=_encode({"model": card.name, **fields}),
        calls_before=sum(_calls_in(message) for message in request.messages),
    )


def _plain(request: ChatCompletionRequest | CompletionRequest) -> Reading:
    return Reading(
        stops=list(stop_strings(request)),
        include_stop=request.shows_stop,
        skip_special_tokens=request.skip_special_tokens is not False,
        whole=not request.stream,
    )


def _thinks(request: ChatCompletionRequest, card: ModelCard, grammar: Grammar | None) -> bool:
    """Tells whether the engine's parser reads the thinking. A grammar begins behind the thinking,
    of whose end the parser knows, whoever is to see the thinking.
    """
    return bool(card.reasoning_parser) and (
        request.separate_reasoning is not False or grammar is not None
    )


def _calls(request: ChatCompletionRequest, card: ModelCard, grammar: Grammar | None) -> bool:
    """Tells whether calls are read. Without a parser a call can still be forced: the engine is then
    held to JSON.

    Beside a response format the worker allows both, where calls begin with marks; other JSON of the
    client's own schema is no call.
    """
    if not request.tools or request.tool_choice == "none":
        return False
    forced = is_forced(request.tool_choice)
    if grammar is not None and forced:
        raise InvalidRequest(
            (
                f"tool_choice forces a tool call, and {grammar.field} says what the answer must "
                "look like; both cannot be held."
            ),
            param="tool_choice",
        )
    free = grammar is None or grammar.kind != "json_schema" or _is_response_format(grammar)
    return forced or (bool(card.tool_call_parser) and free)


def _is_response_format(grammar: Grammar) -> bool:
    return grammar.kind == "json_schema" and grammar.field.startswith("response_format")


def _calls_in(message: dict[str, Any]) -> int:
    calls = message.get("tool_calls")
    return len(cast("list[Any]", calls)) if isinstance(calls, list) else 0
