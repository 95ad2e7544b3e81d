"""A request to /v1/messages → the chat it is."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from frontend.api.anthropic.schemas import (
    ContentBlock,
    CountTokensRequest,
    Message,
    MessagesRequest,
    TextBlock,
    Thinking,
    ThinkingBlock,
    Tool,
    ToolResultBlock,
    ToolUseBlock,
)
from frontend.api.grammars import JsonSchemaFormat, NamedSchema
from frontend.api.schemas import ChatCompletionRequest
from protocol.errors import InvalidRequest, UnsupportedParameter

_AS_IN_CHAT: Final = (
    *("max_tokens", "stream", "temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "seed"),
    *("lora_path", "cache_salt", "priority", "nvext"),
)

_encode = msgspec.json.Encoder().encode


def chat_of(request: CountTokensRequest) -> ChatCompletionRequest:
    """The chat whose prompt is this request's, without what says how to generate.

    A last message of the assistant is continued; an empty one is where the answer begins anyway.

    Raises:
        InvalidRequest: fields that contradict each other.
        UnsupportedParameter: naming what cannot be honoured.
    """
    messages = _system(request.system)
    for at, message in enumerate(request.messages):
        messages += _messages(message, f"messages[{at}]")
    if len(messages) > 1 and messages[-1] == {"role": "assistant", "content": ""}:
        messages.pop()
    tools = None if not request.tools else [_tool(tool, f"tools[{at}]") for at, tool in enumerate(request.tools)]
    continued = messages[-1]["role"] == "assistant" and bool(messages[-1].get("content")) and not messages[-1].get("tool_calls")
    config = request.output_config
    return ChatCompletionRequest(
        model=request.model,
        messages=messages,
        tools=tools,
        tool_choice=_tool_choice(request),
        parallel_tool_calls=False if request.tool_choice is not None and request.tool_choice.disable_parallel_tool_use else None,
        response_format=None if config is None or config.format is None else JsonSchemaFormat(NamedSchema("answer", config.format.schema)),
        reasoning_effort=None if config is None else config.effort,
        chat_template_kwargs=None if request.thinking is None else _template_kwargs(request.thinking),
        add_generation_prompt=not continued,
        continue_final_message=continued,
    )


def generating_chat_of(request: MessagesRequest) -> ChatCompletionRequest:
    """The whole chat.

    Raises:
        InvalidRequest: as `chat_of`.
    """
    thinking = request.thinking
    if thinking is not None and thinking.budget_tokens is not None and thinking.budget_tokens >= request.max_tokens:
        raise InvalidRequest("max_tokens must be greater than thinking.budget_tokens.", param="max_tokens")
    chat = chat_of(request)
    return msgspec.structs.replace(
        chat,
        stop=request.stop_sequences or None,
        top_k=request.top_k or None,
        user=None if request.metadata is None else request.metadata.user_id,
        chat_template_kwargs={**(chat.chat_template_kwargs or {}), **(request.chat_template_kwargs or {})} or None,
        **{name: getattr(request, name) for name in _AS_IN_CHAT},
    )


def _system(system: str | list[TextBlock] | None) -> list[dict[str, Any]]:
    text = system if isinstance(system, str) else "\n".join(block.text for block in system or ())
    return [{"role": "system", "content": text}] if text else []


def _messages(message: Message, param: str) -> list[dict[str, Any]]:
    """Usually one. Results of tools are messages of their own, in their place among the user's texts."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    if message.role == "assistant":
        return [_assistant(message.content, param)]
    told: list[dict[str, Any]] = []
    texts: list[str] = []
    for at, block in enumerate(message.content):
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ToolResultBlock):
            told += _joined(message.role, texts)
            texts = []
            told.append({"role": "tool", "tool_call_id": block.tool_use_id, "content": _result(block, f"{param}.content[{at}]")})
        else:
            raise _refused(block, message.role, f"{param}.content[{at}]")
    told += _joined(message.role, texts)
    return told or [{"role": message.role, "content": ""}]


def _joined(role: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    if not texts:
        return []
    return [{"role": role, "content": texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]}]


def _assistant(blocks: Sequence[ContentBlock], param: str) -> dict[str, Any]:
    """Thinking of earlier turns is told as `reasoning_content`, which templates that know thinking read."""
    thoughts: list[str] = []
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for at, block in enumerate(blocks):
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ThinkingBlock):
            thoughts.append(block.thinking)
        elif isinstance(block, ToolUseBlock):
            function = {"name": block.name, "arguments": _encode(block.input).decode()}
            calls.append({"id": block.id, "type": "function", "function": function})
        else:
            raise _refused(block, "assistant", f"{param}.content[{at}]")
    told: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if any(thoughts):
        told["reasoning_content"] = "\n".join(thoughts)
    if calls:
        told["tool_calls"] = calls
    return told


def _result(block: ToolResultBlock, param: str) -> str:
    if block.content is None or isinstance(block.content, str):
        return block.content or ""
    texts: list[str] = []
    for at, part in enumerate(block.content):
        if not isinstance(part, TextBlock):
            raise _refused(part, "tool", f"{param}.content[{at}]")
        texts.append(part.text)
    return "\n".join(texts)


def _refused(block: ContentBlock, role: str, param: str) -> InvalidRequest:
    kind = str(block.__struct_config__.tag)
    if isinstance(block, TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock):
        return InvalidRequest(f"A {role} message cannot hold a block of type {kind!r}.", param=f"{param}.type")
    return UnsupportedParameter(f"Blocks of type {kind!r} are not supported; this server takes text only.", param=f"{param}.type")


def _tool(tool: Tool, param: str) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        raise UnsupportedParameter(
            f"Tools of type {tool.type[:100]!r} run on Anthropic's servers; only custom tools work here.", param=f"{param}.type"
        )
    if tool.input_schema is None:
        raise InvalidRequest(f"Missing required parameter: '{param}.input_schema'.", param=f"{param}.input_schema")
    function: dict[str, Any] = {"name": tool.name, "parameters": {"type": "object", **tool.input_schema}}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(request: CountTokensRequest) -> Any:
    choice = request.tool_choice
    if choice is None:
        return None
    if choice.type == "none":
        return "none"
    names = [tool.name for tool in request.tools or ()]
    if not names:
        raise InvalidRequest("tool_choice is only allowed when tools are given.", param="tool_choice")
    if choice.type != "tool":
        return {"auto": "auto", "any": "required"}[choice.type]
    if choice.name not in names:
        raise InvalidRequest("tool_choice.name is none of the tools.", param="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _template_kwargs(thinking: Thinking) -> dict[str, str | int | float | bool | None]:
    """Under both names that templates have for it."""
    if thinking.type == "enabled" and thinking.budget_tokens is None:
        raise InvalidRequest("thinking.budget_tokens is required when thinking is enabled.", param="thinking.budget_tokens")
    if thinking.type != "enabled" and thinking.budget_tokens is not None:
        raise InvalidRequest(f"thinking.budget_tokens is not allowed when thinking is {thinking.type}.", param="thinking.budget_tokens")
    thinks = thinking.type != "disabled"
    return {"thinking": thinks, "enable_thinking": thinks}
