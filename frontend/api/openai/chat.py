"""POST /v1/chat/completions is answered here; other endpoints run their requests as its chats."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from frontend.api.answers.chunks import ChunkWriter, Usage
from frontend.api.answers.logprobs import TokenTexts
from frontend.api.answers.streaming import ChunkEvents, ended_by, stream_events, usage_of, whole
from frontend.api.answers.token_fields import choice_fields, prompt_fields
from frontend.api.fields.chat_wishes import under_our_names
from frontend.api.fields.custom_tools import with_functions
from frontend.api.fields.messages import check_messages
from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.refusals import refuse_unsupported_chat
from frontend.api.fields.sampling import stop_strings
from frontend.api.fields.schemas import ChatCompletionRequest
from frontend.api.launching import Launcher
from frontend.api.openai.chat_chunks import ChatChunks
from frontend.api.openai.chat_objects import as_asked, message_of, rows_of
from frontend.api.prompts.chats import chat_prompt
from frontend.http.exchange import Exchange
from frontend.http.ignored import REFUSING, Ignored
from frontend.http.json_slices import send_in_slices
from frontend.inflight.generation import Generation
from frontend.media.part import MediaSource
from frontend.models.served import ServedModel
from protocol.limits import STOPS_MAX
from protocol.media import PromptMedia
from protocol.tokens import count_tokens

_parser = BodyParser(ChatCompletionRequest)
_encode = msgspec.json.Encoder().encode


async def chat_completions(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/chat/completions, as a whole or streamed."""
    request = under_our_names(await _parser.read(exchange))
    exchange.model, exchange.streams = request.model, bool(request.stream)
    request, custom = with_functions(request, exchange.ignored)
    await exchange.run_until_client_leaves(_answer(exchange, launcher, request, custom))


async def _answer(
    exchange: Exchange, launcher: Launcher, request: ChatCompletionRequest, custom: frozenset[str]
) -> None:
    """Runs the chat and sends its answer; `custom` are the names of custom tools."""
    started = await start_chat(exchange, launcher, request)
    try:
        if exchange.is_large:
            await exchange.keep_only(
                request,
                [] if request.echo else request.messages,
                beside_bytes=started.media_bytes,
            )
        if request.stream:
            await _stream(exchange, request, started, custom)
        else:
            await _whole(exchange, request, started, custom)
    finally:
        started.generation.close()


class ChatAnswer(Struct, frozen=True):
    """A ChatAnswer is a chat that runs. Whoever started it must close the generation.

    Attributes:
        prompt: the rendered messages, packed u32.
    """

    generation: Generation
    prompt: bytes
    served: ServedModel
    media: Sequence[PromptMedia]

    @property
    def media_bytes(self) -> int:
        """Counts the bytes of the prompt's media, which are kept until the answer's end."""
        return sum(len(each.data) for each in self.media)

    def usage(self, n: int = 1) -> Usage:
        """Counts the tokens of prompt and answer, which has n choices, so far."""
        prompt_tokens = count_tokens(self.prompt)
        if not self.media:
            return usage_of(self.generation, prompt_tokens, n)
        if not all(each.tokens for each in self.media):
            prompt_tokens = self.generation.choices[0].prompt_tokens_told or prompt_tokens
        image_tokens = sum(each.tokens for each in self.media if each.modality == "image")
        usage = usage_of(self.generation, prompt_tokens, n)
        finished = self.generation.choices[0].stream.finished
        if finished is None:
            return replace(usage, image_tokens=image_tokens)
        return replace(
            usage,
            image_tokens=image_tokens,
            video_tokens=finished.video_tokens,
            audio_tokens=finished.audio_tokens,
        )


async def start_chat(
    exchange: Exchange,
    launcher: Launcher,
    request: ChatCompletionRequest,
    *,
    cut_to_room: bool = False,
    repeats: bool = False,
) -> ChatAnswer:
    """Checks, renders, tokenizes and dispatches a chat, whichever endpoint it came by.

    Args:
        repeats: as `check_price`.
        cut_to_room: the context ends an answer that may have more tokens than there is room for;
        otherwise that is an error.
    Raises:
        MeshError: it cannot be run.
    """
    check = partial(check_chat, request, exchange.ignored)
    sources = await exchange.in_proportion(check) if exchange.is_large else check()
    entry = launcher.models.of(exchange, request)
    prompt = await chat_prompt(exchange, launcher.media, entry.served, request, sources)
    if prompt.stops:
        request = replace(
            request, stop=list(dict.fromkeys([*stop_strings(request), *prompt.stops]))[:STOPS_MAX]
        )
    room = entry.served.card.context_length - count_tokens(prompt.token_ids)
    if cut_to_room and request.max_tokens is not None and room > 0:
        request = replace(request, max_tokens=min(request.max_tokens, room))
    return ChatAnswer(
        await launcher.launch(
            exchange, entry, request, [prompt.token_ids], media=prompt.media, repeats=repeats
        ),
        prompt.token_ids,
        entry.served,
        prompt.media,
    )


def check_chat(
    request: ChatCompletionRequest, ignored: Ignored = REFUSING
) -> Sequence[MediaSource]:
    """Checks what can be checked of a chat without the model, and returns the media that its
    messages name.

    Args:
        ignored: takes what has no effect.
    Raises:
        InvalidRequest, UnsupportedParameter: naming the field.
    """
    refuse_unsupported_chat(request, ignored)
    return check_messages(request.messages, ignored)


async def _stream(
    exchange: Exchange, request: ChatCompletionRequest, started: ChatAnswer, custom: frozenset[str]
) -> None:
    writer = ChunkWriter(
        _head(exchange, request, "chat.completion.chunk"),
        around_text=(b'"delta":{"content":', b"}"),
        with_usage=request.wants_usage,
    )
    texts = TokenTexts(started.served, as_ids=request.return_tokens_as_token_ids or False)
    chunks = ChatChunks(writer, texts, request, started.prompt, custom)
    usage = partial(started.usage, request.n or 1)
    choices = started.generation.choices
    events = ChunkEvents(writer, chunks, usage, choices, request=request)
    await stream_events(exchange, started.generation, events)


async def _whole(
    exchange: Exchange, request: ChatCompletionRequest, started: ChatAnswer, custom: frozenset[str]
) -> None:
    answers = await started.generation.finish()
    texts = TokenTexts(started.served, as_ids=request.return_tokens_as_token_ids or False)
    choices: list[dict[str, Any]] = [
        {
            "index": choice.index,
            "message": as_asked(message_of(answer, custom), request),
            "logprobs": rows_of(texts, answer, request) if request.logprobs else None,
            "finish_reason": choice.finish_reason,
            **ended_by(choice),
        }
        for choice, answer in zip(started.generation.choices, answers, strict=True)
    ]
    body = _head(exchange, request, "chat.completion")
    if request.return_token_ids or request.prompt_logprobs is not None:
        body |= prompt_fields(request, started.prompt, answers[0].prompt_logprobs, texts)
        for choice, told in zip(started.generation.choices, choices, strict=True):
            told.update(choice_fields(request, choice))
    usage = started.usage(request.n or 1).as_json()
    body |= whole(choices, usage, request, started.generation)
    if request.logprobs or request.prompt_logprobs is not None:
        await send_in_slices(exchange, body)
    else:
        await exchange.send_json(200, _encode(body))


def _head(exchange: Exchange, request: ChatCompletionRequest, kind: str) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": "chatcmpl-" + exchange.request_id,
        "object": kind,
        "created": int(time.time()),
        "model": request.model,
    }
    return head if request.service_tier is None else head | {"service_tier": "default"}
