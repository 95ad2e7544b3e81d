"""POST /v1/messages and /v1/messages/count_tokens."""

from functools import partial
from typing import Final

import msgspec

from frontend.api.answers.streaming import usage_of
from frontend.api.anthropic.answers import MessageWriter
from frontend.api.anthropic.conversion import chat_of, generating_chat_of
from frontend.api.anthropic.schemas import REFUSED_FIELDS, CountTokensRequest, MessagesRequest
from frontend.api.fields.param_names import params_named
from frontend.api.fields.parsing import BodyParser
from frontend.api.launching import Launcher
from frontend.api.openai.chat import ChatAnswer, chat_prompt, check_chat, start_chat
from frontend.http.exchange import Exchange
from protocol.tokens import count_tokens

_messages_parser = BodyParser(MessagesRequest, REFUSED_FIELDS)
_count_parser = BodyParser(CountTokensRequest, REFUSED_FIELDS)
_encode = msgspec.json.Encoder().encode

_NAMES: Final = {
    "messages": "messages",
    "response_format": "output_config.format",
    "stop": "stop_sequences",
    "reasoning_effort": "output_config.effort",
}


async def messages(exchange: Exchange, launcher: Launcher) -> None:
    """Answer one request for a message, as a whole or streamed."""
    request = await _messages_parser.read(exchange)
    exchange.model, exchange.streams = request.model, bool(request.stream)
    await exchange.run_until_client_leaves(_answer(exchange, launcher, request))


async def count_message_tokens(exchange: Exchange, launcher: Launcher) -> None:
    """Say how many tokens a message's prompt has: those of the rendered chat, exactly."""
    request = await _count_parser.read(exchange)
    exchange.model = request.model

    async def count() -> None:
        chat = await exchange.in_proportion(partial(chat_of, request, exchange.ignored))
        await exchange.in_proportion(partial(check_chat, chat, exchange.ignored))
        with params_named(_NAMES):
            prompt = await chat_prompt(exchange, launcher.models.named(request.model).served, chat)
        await exchange.send_json(200, _encode({"input_tokens": count_tokens(prompt)}))

    await exchange.run_until_client_leaves(count())


async def _answer(exchange: Exchange, launcher: Launcher, request: MessagesRequest) -> None:
    chat = await exchange.in_proportion(partial(generating_chat_of, request, exchange.ignored))
    with params_named(_NAMES):
        started = await start_chat(exchange, launcher, chat, cut_to_room=True)
    shown = request.thinking is None or request.thinking.display != "omitted"
    writer = MessageWriter(
        "msg_" + exchange.request_id,
        request.model,
        thoughts_shown=shown,
        max_tokens=request.max_tokens,
        manages_context=request.context_management is not None,
    )
    try:
        if exchange.is_large:
            await exchange.keep_only(request, chat.messages, request.messages)
        if request.stream:
            await _stream(exchange, writer, started)
        else:
            (answer,) = await started.generation.finish()
            message = writer.whole(
                answer,
                started.generation.choices[0],
                usage_of(started.generation, started.prompt_tokens, 1),
            )
            await exchange.send_json(200, _encode(message))
    finally:
        started.generation.close()


async def _stream(exchange: Exchange, writer: MessageWriter, started: ChatAnswer) -> None:
    """Nothing is sent before the first token, so that an error until then has its status."""
    begun = False
    while True:
        moved = await started.generation.advance()
        begin = (
            b"" if begun else writer.begin(usage_of(started.generation, started.prompt_tokens, 1))
        )
        events, begun = begin + b"".join([writer.gained(gain) for _, gain in moved]), True
        if not started.generation.running:
            await exchange.end_events(
                events
                + writer.end(
                    started.generation.choices[0],
                    usage_of(started.generation, started.prompt_tokens, 1),
                )
            )
            return
        if events:
            await exchange.send_events(events)
