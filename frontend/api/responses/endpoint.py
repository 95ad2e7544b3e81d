"""POST /v1/responses is answered here, without a store."""

import time
from functools import partial
from typing import Any

import msgspec

from frontend.api.answers.blocks import blocks_of
from frontend.api.answers.logprobs import TokenTexts, chat_logprobs, chat_rows
from frontend.api.answers.streaming import stream_events
from frontend.api.fields.param_names import params_named
from frontend.api.fields.parsing import BodyParser
from frontend.api.launching import Launcher
from frontend.api.openai.chat import ChatAnswer, start_chat
from frontend.api.responses.answers import Items, finished_fields, head_of, status_of
from frontend.api.responses.conversion import PARAM_NAMES, chat_of, wants_logprobs
from frontend.api.responses.events import ResponseStream
from frontend.api.responses.schemas import REFUSED_FIELDS, ResponsesRequest
from frontend.api.responses.tools import OfferedTools
from frontend.http.exchange import Exchange
from frontend.http.json_slices import Rows, send_in_slices
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Gain

_parser = BodyParser(ResponsesRequest, REFUSED_FIELDS)
_encode = msgspec.json.Encoder().encode


async def responses(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/responses, as a whole or streamed."""
    request = await _parser.read(exchange)
    exchange.model, exchange.streams = request.model, bool(request.stream)
    await exchange.run_until_client_leaves(_answer(exchange, launcher, request))


async def _answer(exchange: Exchange, launcher: Launcher, request: ResponsesRequest) -> None:
    writer: ResponseStream | None = None
    with params_named(PARAM_NAMES):
        offered = await exchange.in_proportion(
            partial(OfferedTools, request.tools or (), exchange.ignored)
        )
        if request.stream:
            head = head_of(request, exchange.request_id, int(time.time()))
            # A comment may begin the stream before a worker is found.
            exchange.errors = writer = ResponseStream(head, Items(exchange.request_id, offered))
        chat = await exchange.in_proportion(partial(chat_of, request, offered, exchange.ignored))
        started = await start_chat(exchange, launcher, chat, repeats=writer is not None)
    try:
        if exchange.is_large:
            await exchange.keep_only(
                request,
                chat.messages,
                [] if isinstance(request.input, str) else request.input,
                beside_bytes=started.media_bytes,
            )
        if writer is not None:
            events = _ResponseEvents(exchange, writer, started)
            await stream_events(exchange, started.generation, events)
        else:
            await _whole(exchange, request, started, offered)
    finally:
        started.generation.close()


async def _whole(
    exchange: Exchange, request: ResponsesRequest, started: ChatAnswer, offered: OfferedTools
) -> None:
    (answer,) = await started.generation.finish()
    choice = started.generation.choices[0]
    told: list[dict[str, Any]] | Rows = []
    if wants_logprobs(request):
        told = Rows(partial(chat_rows, TokenTexts(started.served, as_ids=False), answer.scored))
    status = "completed" if status_of(choice) == "completed" else "incomplete"
    blocks = blocks_of(answer.reasoning, answer.text, answer.calls)
    items = Items(exchange.request_id, offered)
    output = [
        items.item(block, status if block is blocks[-1] else "completed", told) for block in blocks
    ]
    head = head_of(request, exchange.request_id, int(time.time()))
    body = head | finished_fields(choice, output, started.usage())
    if told:
        await send_in_slices(exchange, body)
    else:
        await exchange.send_json(200, await exchange.in_proportion(partial(_encode, body)))


class _ResponseEvents:
    """Tells a response in OpenAI's events.

    The first and last of them repeat the request's instructions and tools.
    """

    def __init__(self, exchange: Exchange, writer: ResponseStream, started: ChatAnswer) -> None:
        self._exchange = exchange
        self._writer = writer
        self._started = started
        self._texts = TokenTexts(started.served, as_ids=False)

    async def begin(self) -> bytes:
        return await self._exchange.in_proportion(self._writer.begin)

    def turn(self, moved: list[tuple[Choice, Gain]]) -> list[tuple[Choice, Gain]]:
        return moved

    def event(self, choice: Choice, gain: Gain) -> bytes:  # noqa: ARG002 - a response has one choice
        logprobs: list[dict[str, Any]] = []
        if gain.token_ids:
            scored = chat_logprobs(self._texts, [(gain.token_ids, gain.logprobs)])
            logprobs = scored["content"]
        return self._writer.gained(gain, logprobs)

    async def end(self) -> bytes:
        generation = self._started.generation
        usage = self._started.usage()
        return await self._exchange.in_proportion(
            partial(self._writer.end, generation.choices[0], usage)
        )
