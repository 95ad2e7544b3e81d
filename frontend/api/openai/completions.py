"""POST /v1/completions answers one prompt or several, as text or token ids."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from frontend.api.answers.chunks import NULL, ChunkWriter, Last, Usage
from frontend.api.answers.logprobs import CompletionLogprobs, Scored, TokenTexts, joined
from frontend.api.answers.streaming import ChunkEvents, ended_by, stream_events, usage_of, whole
from frontend.api.answers.token_fields import StreamedIds, choice_fields, prompt_fields
from frontend.api.fields.listed import Listed, listed
from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.refusals import refuse_unsupported_completion
from frontend.api.fields.schemas import PROMPTS_MAX, CompletionRequest
from frontend.api.launching import Launcher
from frontend.api.prompts.encoding import encode_prompt
from frontend.http.body_counts import TOKEN_IDS_MAX
from frontend.http.exchange import Exchange
from frontend.http.json_slices import Rows, send_in_slices
from frontend.inflight.choice import Choice
from frontend.inflight.generation import Generation
from frontend.models.served import ServedModel
from frontend.text.output.gain import Gain
from protocol.errors import ContextOverflow, InvalidRequest
from protocol.generation import Logprobs
from protocol.tokens import count_tokens, pack_tokens

_parser = BodyParser(CompletionRequest, items_max=TOKEN_IDS_MAX)
_encode = msgspec.json.Encoder().encode


async def completions(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to /v1/completions, as a whole or streamed."""
    request = await _parser.read(exchange)
    exchange.model, exchange.streams = request.model, bool(request.stream)
    await exchange.run_until_client_leaves(_answer(exchange, launcher, request))


async def _answer(exchange: Exchange, launcher: Launcher, request: CompletionRequest) -> None:
    refuse_unsupported_completion(request)
    entry = launcher.models.of(exchange, request)
    asked = await exchange.in_proportion(partial(listed_prompts, request))
    special = request.add_special_tokens is not False
    prompts = [
        await prompt_tokens(prompt, entry.served, add_special_tokens=special) for prompt in asked
    ]
    showings = [
        _Showing(request, entry.served, _echo(prompt, entry.served) if request.echo else "", packed)
        for prompt, packed in zip(asked, prompts, strict=True)
        for _ in range(request.n or 1)
    ]
    generation = await launcher.launch(exchange, entry, request, prompts)
    usage = partial(
        usage_of, generation, sum(count_tokens(prompt) for prompt in prompts), request.n or 1
    )
    try:
        if exchange.is_large:
            await exchange.keep_only(request)
        if request.stream:
            await _stream(exchange, request, generation, showings, usage)
        else:
            await _whole(exchange, request, generation, showings, usage)
    finally:
        generation.close()


class _Showing:
    """A _Showing knows how one choice is shown: behind its prompt if that is echoed, with the log
    probabilities that were asked for.
    """

    __slots__ = ("_echo", "_logprobs", "prompt", "texts")

    def __init__(
        self, request: CompletionRequest, served: ServedModel, echo: str, prompt: bytes
    ) -> None:
        self._echo = echo
        self.prompt = prompt
        self.texts = TokenTexts(served, as_ids=request.return_tokens_as_token_ids or False)
        self._logprobs: CompletionLogprobs | None = None
        if request.logprobs is not None:
            self._logprobs = CompletionLogprobs(
                self.texts,
                served,
                skip_special_tokens=request.skip_special_tokens is not False,
                top=request.logprobs,
            )

    def text(self, gained: str) -> str:
        """Returns the text of the next piece; the first brings the echo."""
        echo, self._echo = self._echo, ""
        return echo + gained

    def columns(self, scored: Scored, of_prompt: Logprobs | None) -> dict[str, Rows] | None:
        """Returns the log probabilities of a whole answer, to be asked for before `text`; None
        where none are told.
        """
        if self._logprobs is None:
            return None
        return self._logprobs.columns(
            self._echo, None if of_prompt is None else (self.prompt, [of_prompt]), scored
        )

    def logprobs(
        self, pieces: Scored, of_prompt: Logprobs | None, *, last: bool
    ) -> dict[str, Any] | None:
        """Returns the log probabilities of the next piece, which must not have been taken by `text`
        yet; None if there is nothing to tell before the last one.
        """
        if self._logprobs is None or (
            of_prompt is None and not last and not any(packed for packed, _ in pieces)
        ):
            return None
        if of_prompt is None:
            return self._logprobs.told(pieces)
        return joined(
            self._logprobs.echoed(self._echo, self.prompt, of_prompt), self._logprobs.told(pieces)
        )


class _Chunks:
    """A _Chunks makes the chunks of one streamed completion."""

    __slots__ = ("_echo", "_ids", "_showings", "_writer")

    def __init__(
        self, writer: ChunkWriter, request: CompletionRequest, showings: list[_Showing]
    ) -> None:
        self._writer = writer
        self._echo = request.echo
        self._showings = showings
        prompts = [showing.prompt for showing in showings]
        self._ids = StreamedIds(prompts) if request.return_token_ids else None

    def chunk(self, choice: Choice, gain: Gain, last: Last | None) -> bytes:
        showing = self._showings[choice.index]
        of_prompt = gain.prompt_logprobs if self._echo else None
        columns = showing.logprobs(
            [(gain.token_ids, gain.logprobs)], of_prompt, last=last is not None
        )
        logprobs = NULL if columns is None else _encode(columns)
        if self._ids is not None:
            logprobs += self._ids.fragment(choice)
        return self._writer.text(choice.index, showing.text(gain.text), last, logprobs)


def listed_prompts(request: CompletionRequest) -> Listed:
    """Returns the prompts of a completions request one by one.

    Raises:
        InvalidRequest: none, too many, or a mixture of kinds.
    """
    if request.prompt == []:
        raise InvalidRequest("The prompt is empty.", param="prompt")
    return listed(request.prompt, "prompt", PROMPTS_MAX)


async def prompt_tokens(
    prompt: str | list[int], served: ServedModel, *, add_special_tokens: bool = True
) -> bytes:
    """Returns a prompt's token ids as packed u32.

    Raises:
        InvalidRequest: it has no tokens, or one that the model does not.
        ContextOverflow, Overloaded: as `encode_prompt`.
    """
    if isinstance(prompt, str):
        packed = await encode_prompt(
            served, prompt, add_special_tokens=add_special_tokens, param="prompt"
        )
        if not packed:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        return packed
    if len(prompt) > served.card.context_length:
        raise ContextOverflow.of(
            prompt_tokens=len(prompt),
            max_tokens=1,
            context_length=served.card.context_length,
            param="prompt",
        )
    if max(prompt) >= served.card.vocab_size:
        raise InvalidRequest(
            f"Token id {max(prompt)} is outside the vocabulary of {served.card.vocab_size}.",
            param="prompt",
        )
    return pack_tokens(prompt)


def _echo(prompt: str | list[int], served: ServedModel) -> str:
    """Returns a prompt's text as it came; encoding and decoding may change it."""
    return prompt if isinstance(prompt, str) else served.decode(prompt)


async def _stream(
    exchange: Exchange,
    request: CompletionRequest,
    generation: Generation,
    showings: list[_Showing],
    usage: Callable[[], Usage],
) -> None:
    writer = ChunkWriter(
        _head(exchange, request), around_text=(b'"text":', b""), with_usage=request.wants_usage
    )
    chunks = _Chunks(writer, request, showings)
    events = ChunkEvents(writer, chunks, usage, generation.choices, request=request)
    await stream_events(exchange, generation, events)


async def _whole(
    exchange: Exchange,
    request: CompletionRequest,
    generation: Generation,
    showings: list[_Showing],
    usage: Callable[[], Usage],
) -> None:
    answers = await generation.finish()
    choices = [
        {
            "index": choice.index,
            "logprobs": showing.columns(
                answer.scored, answer.prompt_logprobs if request.echo else None
            ),
            "text": showing.text(answer.text),
            "finish_reason": choice.finish_reason,
            **ended_by(choice),
            **choice_fields(request, choice),
            **prompt_fields(request, showing.prompt, answer.prompt_logprobs, showing.texts),
        }
        for choice, showing, answer in zip(generation.choices, showings, answers, strict=True)
    ]
    body = _head(exchange, request) | whole(choices, usage().as_json(), request, generation)
    if request.logprobs is not None or request.prompt_logprobs is not None:
        await send_in_slices(exchange, body)
    else:
        await exchange.send_json(200, _encode(body))


def _head(exchange: Exchange, request: CompletionRequest) -> dict[str, Any]:
    return {
        "id": "cmpl-" + exchange.request_id,
        "object": "text_completion",
        "created": int(time.time()),
        "model": request.model,
    }
