"""POST /v1/messages and /v1/messages/count_tokens are answered here."""

from functools import partial
from typing import Final

import msgspec

from frontend.api.answers.chunks import Usage
from frontend.api.answers.streaming import stream_events
from frontend.api.anthropic.answers import MessageWriter
from frontend.api.anthropic.conversion import chat_of, generating_chat_of
from frontend.api.anthropic.schemas import REFUSED_FIELDS, CountTokensRequest, MessagesRequest
from frontend.api.fields.param_names import params_named
from frontend.api.fields.parsing import BodyParser
from frontend.api.launching import Launcher
from frontend.api.openai.chat import ChatAnswer, check_chat, start_chat
from frontend.api.prompts.chats import chat_prompt
from frontend.http.exchange import Exchange
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Gain
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
    """Answers one request to /v1/messages, as a whole or streamed."""
    request = await _messages_parser.read(exchange)
    exchange.model, exchange.streams = request.model, bool(request.stream)
    await exchange.run_until_client_leaves(_answer(exchange, launcher, request))


async def count_message_tokens(exchange: Exchange, launcher: Launcher) -> None:
    """Answers with how many tokens a message's prompt has: those of the rendered chat, exactly."""
    request = await _count_parser.read(exchange)
    exchange.model = request.model

    async def count() -> None:
        chat = await exchange.in_proportion(partial(chat_of, request, exchange.ignored))
        sources = await exchange.in_proportion(partial(check_chat, chat, exchange.ignored))
        served = launcher.models.named(request.model).served
        with params_named(_NAMES):
            prompt = await chat_prompt(exchange, launcher.media, served, chat, sources)
            prompt.require_counted()
        counted = {"input_tokens": count_tokens(prompt.token_ids)}
        await exchange.send_json(200, _encode(counted))

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
            await exchange.keep_only(
                request, chat.messages, request.messages, beside_bytes=started.media_bytes
            )
        if request.stream:
            await stream_events(exchange, started.generation, _MessageEvents(writer, started))
        else:
            (answer,) = await started.generation.finish()
            message = writer.whole(answer, started.generation.choices[0], started.usage())
            await exchange.send_json(200, _encode(message))
    finally:
        started.generation.close()


class _MessageEvents:
    """Tells a message in Anthropic's events."""

    def __init__(self, writer: MessageWriter, started: ChatAnswer) -> None:
        self._writer = writer
        self._started = started

    async def begin(self) -> bytes:
        return self._writer.begin(self._usage())

    def turn(self, moved: list[tuple[Choice, Gain]]) -> list[tuple[Choice, Gain]]:
        return moved

    def event(self, choice: Choice, gain: Gain) -> bytes:  # noqa: ARG002 - a message has one choice
        return self._writer.gained(gain)

    async def end(self) -> bytes:
        return self._writer.end(self._started.generation.choices[0], self._usage())

    def _usage(self) -> Usage:
        return self._started.usage()
