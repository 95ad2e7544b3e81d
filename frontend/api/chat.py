"""POST /v1/chat/completions."""

import time
from typing import Any

import msgspec

from frontend.api.chunks import ChunkWriter
from frontend.api.encoding import encode_prompt
from frontend.api.exchange import Exchange
from frontend.api.messages import check_messages
from frontend.api.nvext import told
from frontend.api.parsing import BodyParser
from frontend.api.refusals import refuse_unsupported_chat
from frontend.api.running import Runner, stream_chunks, usage_of, whole
from frontend.api.schemas import ChatCompletionRequest
from frontend.generation import Choice, Generation
from frontend.models import ServedModel
from protocol.errors import InvalidRequest
from protocol.tokens import count_tokens

_parser = BodyParser(ChatCompletionRequest)
_encode = msgspec.json.Encoder().encode

_RESERVED_TEMPLATE_KWARGS = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "tokenize", "chat_template"}
)


async def chat_completions(exchange: Exchange, runner: Runner) -> None:
    """Answer one chat request, as a whole or streamed."""
    request = _parser.parse(await exchange.read_body())
    exchange.model, exchange.streams = request.model, bool(request.stream)
    await exchange.run_until_client_leaves(_answer(exchange, runner, request))


async def _answer(exchange: Exchange, runner: Runner, request: ChatCompletionRequest) -> None:
    refuse_unsupported_chat(request)
    check_messages(request.messages)
    entry = runner.model(request.model)
    prompt = await encode_prompt(entry.served, _render(entry.served, request), add_special_tokens=False, param="messages")
    generation = await runner.start(exchange, entry, request, [prompt])
    try:
        if request.stream:
            await _stream(exchange, request, generation, count_tokens(prompt))
        else:
            await _whole(exchange, request, generation, count_tokens(prompt))
    finally:
        generation.close()


def _render(served: ServedModel, request: ChatCompletionRequest) -> str:
    kwargs = request.chat_template_kwargs or {}
    if reserved := _RESERVED_TEMPLATE_KWARGS.intersection(kwargs):
        raise InvalidRequest(f"chat_template_kwargs must not set {sorted(reserved)[0]!r}.", param="chat_template_kwargs")
    continued = request.continue_final_message or False
    return served.render(
        request.messages,
        tools=None if request.tool_choice == "none" else request.tools,
        add_generation_prompt=not continued if request.add_generation_prompt is None else request.add_generation_prompt,
        continue_final_message=continued,
        **kwargs,
    )


async def _stream(exchange: Exchange, request: ChatCompletionRequest, generation: Generation, prompt_tokens: int) -> None:
    writer = ChunkWriter(
        _head(exchange, request, "chat.completion.chunk"), around_text=(b'"delta":{"content":', b"}"), with_usage=request.wants_usage
    )
    begun: set[int] = set()

    def chunk(choice: Choice, text: str) -> bytes:
        nvext = told(request.wants_told, choice) if choice.finish_reason else None
        if choice.index not in begun:
            begun.add(choice.index)
            return writer.delta(choice.index, b'{"role":"assistant","content":' + _encode(text) + b"}", choice.finish_reason, nvext)
        if not text:
            return writer.delta(choice.index, b"{}", choice.finish_reason, nvext)
        return writer.text(choice.index, text, choice.finish_reason, nvext)

    await stream_chunks(exchange, generation, chunk, lambda: writer.last(usage_of(generation, prompt_tokens, request.n or 1)))


async def _whole(exchange: Exchange, request: ChatCompletionRequest, generation: Generation, prompt_tokens: int) -> None:
    texts = await generation.finish()
    choices = [
        {
            "index": choice.index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": choice.finish_reason,
        }
        for choice, text in zip(generation.choices, texts, strict=True)
    ]
    usage = usage_of(generation, prompt_tokens, request.n or 1).as_json()
    await exchange.send_json(200, _encode(_head(exchange, request, "chat.completion") | whole(choices, usage, request, generation)))


def _head(exchange: Exchange, request: ChatCompletionRequest, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-" + exchange.request_id, "object": kind, "created": int(time.time()), "model": request.model}
