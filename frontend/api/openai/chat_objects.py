"""A chat's answer is told in OpenAI's objects: messages, and the deltas that make them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from frontend.api.answers.logprobs import TokenTexts, chat_rows
from frontend.api.fields.chat_wishes import echoed_text
from frontend.api.fields.custom_tools import call_delta, told_call
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.http.json_slices import Rows
from frontend.text.output.gain import Answer, Gain


def delta_of(
    gain: Gain, calls: Sequence[dict[str, Any]] | None = None, *, first: bool
) -> dict[str, Any]:
    """Returns OpenAI's delta object of a gain; the first one of a choice bears the role.

    `calls` are told instead of the gain's own, unless None.
    """
    delta: dict[str, Any] = (
        {"role": "assistant", "content": None if gain.reasoning or gain.calls else ""}
        if first
        else {}
    )
    if gain.reasoning:
        delta["reasoning_content"] = gain.reasoning
    if gain.text:
        delta["content"] = gain.text
    if told := [call_delta(call) for call in gain.calls] if calls is None else calls:
        delta["tool_calls"] = told
    return delta


def rows_of(texts: TokenTexts, answer: Answer, request: ChatCompletionRequest) -> dict[str, Any]:
    """Returns the `logprobs` object of a chat's answer, whose rows are made while they are sent."""
    return {
        "content": Rows(partial(chat_rows, texts, answer.scored, request.top_logprobs or 0)),
        "refusal": None,
    }


def as_asked(message: dict[str, Any], request: ChatCompletionRequest) -> dict[str, Any]:
    """Returns the message with the text that it goes on from, or without its thinking, where a
    client wants that.
    """
    if request.echo and (before := echoed_text(request)):
        message["content"] = before + (message["content"] or "")
    if request.include_reasoning is False:
        message.pop("reasoning_content", None)
    return message


def message_of(answer: Answer, custom: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Returns OpenAI's message object of an answer.

    What calls tools, some of them `custom`, and says nothing has no content.
    """
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if calls := answer.calls:
        message["content"] = answer.text or None
        message["tool_calls"] = [told_call(call, custom) for call in calls]
    return message
