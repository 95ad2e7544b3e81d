"""POST /v1/responses, without a store."""

import time
from typing import Any

import msgspec

from frontend.api.blocks import blocks_of
from frontend.api.chat import ChatRun, start_chat
from frontend.api.exchange import Exchange
from frontend.api.logprobs import TokenTexts, chat_logprobs
from frontend.api.param_names import params_named
from frontend.api.parsing import BodyParser
from frontend.api.responses.answers import Items, finished_fields, head_of, status_of
from frontend.api.responses.conversion import PARAM_NAMES, chat_of, wants_logprobs
from frontend.api.responses.events import ResponseStream
from frontend.api.responses.schemas import REFUSED_FIELDS, ResponsesRequest
from frontend.api.responses.tools import OfferedTools
from frontend.api.running import Runner, usage_of
from frontend.text.gain import Gain

_parser = BodyParser(ResponsesRequest, REFUSED_FIELDS)
_encode = msgspec.json.Encoder().encode


async def responses(exchange: Exchange, runner: Runner) -> None:
    """Answer one request for a response, as a whole or streamed."""
    request = _parser.parse(await exchange.read_body(), ignored=exchange.ignored)
    exchange.model, exchange.streams = request.model, bool(request.stream)
    await exchange.run_until_client_leaves(_answer(exchange, runner, request))


async def _answer(exchange: Exchange, runner: Runner, request: ResponsesRequest) -> None:
    writer: ResponseStream | None = None
    with params_named(PARAM_NAMES):
        offered = OfferedTools(request.tools or (), exchange.ignored)
        if request.stream:
            head = head_of(request, exchange.request_id, int(time.time()))
            # A comment may begin the stream before a worker is found.
            exchange.errors = writer = ResponseStream(head, Items(exchange.request_id, offered))
        run = await start_chat(exchange, runner, chat_of(request, offered, exchange.ignored))
    try:
        if writer is not None:
            await _stream(exchange, writer, run)
        else:
            await _whole(exchange, request, run, offered)
    finally:
        run.generation.close()


async def _whole(exchange: Exchange, request: ResponsesRequest, run: ChatRun, offered: OfferedTools) -> None:
    (answer,) = await run.generation.finish()
    choice = run.generation.choices[0]
    told: list[dict[str, Any]] = []
    if wants_logprobs(request):
        told = chat_logprobs(TokenTexts(run.served, as_ids=False), answer.scored)["content"]
    status = "completed" if status_of(choice) == "completed" else "incomplete"
    blocks = blocks_of(answer.reasoning, answer.text, answer.calls)
    items = Items(exchange.request_id, offered)
    output = [items.item(block, status if block is blocks[-1] else "completed", told) for block in blocks]
    head = head_of(request, exchange.request_id, int(time.time()))
    await exchange.send_json(200, _encode(head | finished_fields(choice, output, usage_of(run.generation, run.prompt_tokens, 1))))


async def _stream(exchange: Exchange, writer: ResponseStream, run: ChatRun) -> None:
    """No event is sent before the first token, so that an error until then has its status, if no comment was sent."""
    texts = TokenTexts(run.served, as_ids=False)

    def logprobs(gain: Gain) -> list[dict[str, Any]]:
        return chat_logprobs(texts, [(gain.token_ids, gain.logprobs)])["content"] if gain.token_ids else []

    events = b""
    while True:
        moved = await run.generation.advance()
        events += writer.begin() + b"".join([writer.gained(gain, logprobs(gain)) for _, gain in moved])
        if not run.generation.running:
            usage = usage_of(run.generation, run.prompt_tokens, 1)
            await exchange.end_events(events + writer.end(run.generation.choices[0], usage))
            return
        if events:
            await exchange.send_events(events)
        events = b""
