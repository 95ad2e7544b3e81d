"""A request to /v1/messages becomes the chat that it is."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from frontend.api.anthropic.schemas import (
    ContentBlock,
    CountTokensRequest,
    Message,
    MessagesRequest,
    RedactedThinkingBlock,
    Thinking,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from frontend.api.anthropic.told import system_text, told_part, told_text
from frontend.api.anthropic.tools import tool_choice_of, tools_of
from frontend.api.fields.grammar_fields import JsonSchemaFormat, NamedSchema
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.http.ignored import Ignored
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest

_AS_IN_CHAT: Final = (
    *(
        "max_tokens",
        "stream",
        "temperature",
        "top_p",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
        "seed",
    ),
    *("lora_path", "cache_salt", "priority", "nvext"),
)

TOOL_ID_PREFIX: Final = "toolu_"
"""Stands before the ids of calls as Anthropic's clients see them.

It is taken off what comes back, since some templates show ids to the model.
"""

_encode = msgspec.json.Encoder().encode


def chat_of(request: CountTokensRequest, ignored: Ignored) -> ChatCompletionRequest:
    """Returns the chat whose prompt is this request's, without what says how to generate.

    A last message of the assistant is continued; an empty one is where the answer begins anyway.

    Args:
        ignored: takes what has no effect.
    Raises:
        InvalidRequest: fields that contradict each other.
        UnsupportedParameter: naming what cannot be honoured.
    """
    _check_context_management(request.context_management, ignored)
    tools = tools_of(request, ignored)
    system = system_text(request.system)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    told = _Telling({tool["function"]["name"]: tool for tool in tools}, ignored)
    for at, message in enumerate(request.messages):
        messages += told.messages(message, f"messages[{at}]")
    if len(messages) > 1 and messages[-1] == {"role": "assistant", "content": ""}:
        messages.pop()
    continued = (
        messages[-1]["role"] == "assistant"
        and bool(messages[-1].get("content"))
        and not messages[-1].get("tool_calls")
    )
    config = request.output_config
    shape = request.output_format if config is None or config.format is None else config.format
    return ChatCompletionRequest(
        model=request.model,
        messages=messages,
        tools=tools or None,
        tool_choice=tool_choice_of(request, tools),
        parallel_tool_calls=False
        if request.tool_choice is not None and request.tool_choice.disable_parallel_tool_use
        else None,
        response_format=None
        if shape is None
        else JsonSchemaFormat(NamedSchema("answer", shape.schema)),
        reasoning_effort=None if config is None else config.effort,
        chat_template_kwargs=None
        if request.thinking is None
        else _template_kwargs(request.thinking),
        add_generation_prompt=not continued,
        continue_final_message=continued,
    )


def generating_chat_of(request: MessagesRequest, ignored: Ignored) -> ChatCompletionRequest:
    """Returns the whole chat of a request to /v1/messages, with what says how to generate.

    Raises:
        InvalidRequest: as `chat_of`.
    """
    thinking = request.thinking
    if (
        thinking is not None
        and thinking.budget_tokens is not None
        and thinking.budget_tokens >= request.max_tokens
    ):
        raise InvalidRequest(
            "max_tokens must be greater than thinking.budget_tokens.", param="max_tokens"
        )
    chat = chat_of(request, ignored)
    return msgspec.structs.replace(
        chat,
        stop=request.stop_sequences or None,
        top_k=request.top_k or None,
        user=None if request.metadata is None else request.metadata.user_id,
        chat_template_kwargs={
            **(chat.chat_template_kwargs or {}),
            **(request.chat_template_kwargs or {}),
        }
        or None,
        **{name: getattr(request, name) for name in _AS_IN_CHAT},
    )


class _Telling:
    """Turns messages into a chat's.

    Args:
        tools: by name, those that a message may refer to.
        ignored: takes what nobody here can read.
    """

    def __init__(self, tools: Mapping[str, dict[str, Any]], ignored: Ignored) -> None:
        self._tools = tools
        self._ignored = ignored

    def messages(self, message: Message, param: str) -> list[dict[str, Any]]:
        """Returns a chat's messages for one of Anthropic's, usually one.

        Results of tools are messages of their own, in their place among the user's texts.
        """
        if isinstance(message.content, str):
            return [{"role": message.role, "content": message.content}]
        if message.role == "assistant":
            return [self._assistant(message.content, param)]
        if not message.content:
            raise InvalidRequest("A message must have content.", param=f"{param}.content")
        told: list[dict[str, Any]] = []
        parts: list[str | MediaSource] = []
        for at, block in enumerate(message.content):
            if isinstance(block, ToolResultBlock):
                told += _joined(message.role, parts)
                parts = []
                content = self._result(block, f"{param}.content[{at}]")
                told.append(
                    {
                        "role": "tool",
                        "tool_call_id": block.tool_use_id.removeprefix(TOOL_ID_PREFIX),
                        "content": content,
                    }
                )
            elif isinstance(block, ThinkingBlock | ToolUseBlock | RedactedThinkingBlock):
                raise _misplaced(block, message.role, f"{param}.content[{at}]")
            else:
                parts.append(told_part(block, self._tools, f"{param}.content[{at}]"))
        told += _joined(message.role, parts)
        return told

    def _assistant(self, blocks: Sequence[ContentBlock], param: str) -> dict[str, Any]:
        """Returns the assistant's message. Thinking of earlier turns is told as
        `reasoning_content`, which templates that know thinking read.
        """
        thoughts: list[str] = []
        texts: list[str] = []
        calls: list[dict[str, Any]] = []
        for at, block in enumerate(blocks):
            if isinstance(block, ThinkingBlock):
                thoughts.append(block.thinking)
            elif isinstance(block, RedactedThinkingBlock):
                self._ignored.add(
                    "messages.content.redacted_thinking",
                    "only who encrypted it can read it",
                    param=f"{param}.content[{at}]",
                )
            elif isinstance(block, ToolUseBlock):
                function = {"name": block.name, "arguments": _encode(block.input).decode()}
                calls.append(
                    {
                        "id": block.id.removeprefix(TOOL_ID_PREFIX),
                        "type": "function",
                        "function": function,
                    }
                )
            elif isinstance(block, ToolResultBlock):
                raise _misplaced(block, "assistant", f"{param}.content[{at}]")
            else:
                texts.append(told_text(block, self._tools, f"{param}.content[{at}]"))
        told: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
        if any(thoughts):
            told["reasoning_content"] = "\n".join(thoughts)
        if calls:
            told["tool_calls"] = calls
        return told

    def _result(self, block: ToolResultBlock, param: str) -> str | list[Any]:
        if block.content is None or isinstance(block.content, str):
            return block.content or ""
        told = [
            told_part(part, self._tools, f"{param}.content[{at}]")
            for at, part in enumerate(block.content)
        ]
        texts = [part for part in told if isinstance(part, str)]
        return "\n".join(texts) if len(texts) == len(told) else _parts(told)


def _joined(role: str, told: Sequence[str | MediaSource]) -> list[dict[str, Any]]:
    if not told:
        return []
    alone = told[0] if len(told) == 1 else None
    return [{"role": role, "content": alone if isinstance(alone, str) else _parts(told)}]


def _parts(told: Sequence[str | MediaSource]) -> list[Any]:
    """Returns the content of a chat's message; pictures stay what they are (check_messages)."""
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in told]


def _misplaced(block: ContentBlock, role: str, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"A {role} message cannot hold a block of type {str(block.__struct_config__.tag)!r}.",
        param=f"{param}.type",
    )


def _check_context_management(asked: Mapping[str, Any] | None, ignored: Ignored) -> None:
    """Notes edits of the context as ignored. To keep all thinking is what is done anyway; other
    edits remove parts of a long context, which is left as it is here.
    """
    edits = (asked or {}).get("edits")
    for edit in cast("list[Any]", edits) if isinstance(edits, list) else ():
        kept = cast("dict[str, Any]", edit).get("keep") if isinstance(edit, dict) else None
        if kept != "all":
            ignored.add(
                "context_management.edits",
                "the context is the client's; what is sent is what the model reads",
            )


def _template_kwargs(thinking: Thinking) -> dict[str, str | int | float | bool | None]:
    """Returns what says whether to think, under both names that templates have for it."""
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        raise InvalidRequest(
            "thinking.budget_tokens is required when thinking is enabled.",
            param="thinking.budget_tokens",
        )
    if thinking.type != "enabled" and thinking.budget_tokens is not None:
        raise InvalidRequest(
            f"thinking.budget_tokens is not allowed when thinking is {thinking.type}.",
            param="thinking.budget_tokens",
        )
    thinks = thinking.type != "disabled"
    return {"thinking": thinks, "enable_thinking": thinks}
