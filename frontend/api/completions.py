"""POST /v1/completions: one prompt or several, as text or token ids."""

import time
from typing import Any, cast

import msgspec

from frontend.api.chunks import ChunkWriter
from frontend.api.encoding import encode_prompt
from frontend.api.exchange import Exchange
from frontend.api.nvext import told
from frontend.api.parsing import BodyParser
from frontend.api.refusals import refuse_unsupported_completion
from frontend.api.running import Runner, stream_chunks, usage_of, whole
from frontend.api.schemas import PROMPTS_MAX, CompletionRequest
from frontend.generation import Choice, Generation
from frontend.models import ServedModel
from frontend.text.gain import Gain
from protocol.errors import InvalidRequest
from protocol.tokens import count_tokens, pack_tokens

_parser = BodyParser(CompletionRequest)
_encode = msgspec.json.Encoder().encode


async def completions(exchange: Exchange, runner: Runner) -> None:
    """Answer one completions request, as a whole or streamed."""
    request = _parser.parse(await exchange.read_body())
    exchange.model, exchange.streams = request.model, bool(request.stream)
    await exchange.run_until_client_leaves(_answer(exchange, runner, request))


async def _answer(exchange: Exchange, runner: Runner, request: CompletionRequest) -> None:
    refuse_unsupported_completion(request)
    entry = runner.model(request.model)
    asked = _prompts(request)
    prompts = [await _tokens(prompt, entry.served) for prompt in asked]
    echoes = [_echo(prompt, entry.served) if request.echo else "" for prompt in asked for _ in range(request.n or 1)]
    generation = await runner.start(exchange, entry, request, prompts)
    prompt_tokens = sum(count_tokens(prompt) for prompt in prompts)
    try:
        if request.stream:
            await _stream(exchange, request, generation, echoes, prompt_tokens)
        else:
            await _whole(exchange, request, generation, echoes, prompt_tokens)
    finally:
        generation.close()


def _prompts(request: CompletionRequest) -> list[str | list[int]]:
    """The prompts one by one.

    Raises:
        InvalidRequest: none, too many, or a mixture of kinds.
    """
    prompt = request.prompt
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise InvalidRequest("The prompt is empty.", param="prompt")
    kinds = {type(part) for part in prompt}
    if len(kinds) > 1:
        raise InvalidRequest("A list of prompts must hold only strings, only token ids, or only lists of token ids.", param="prompt")
    if kinds == {int}:
        return [cast("list[int]", prompt)]
    if len(prompt) > PROMPTS_MAX:
        raise InvalidRequest(f"At most {PROMPTS_MAX} prompts are allowed, got {len(prompt)}.", param="prompt")
    return cast("list[str | list[int]]", prompt)


async def _tokens(prompt: str | list[int], served: ServedModel) -> bytes:
    if isinstance(prompt, str):
        packed = await encode_prompt(served, prompt, add_special_tokens=True, param="prompt")
        if not packed:
            raise InvalidRequest("The prompt is empty.", param="prompt")
        return packed
    if max(prompt) >= served.card.vocab_size:
        raise InvalidRequest(f"Token id {max(prompt)} is outside the vocabulary of {served.card.vocab_size}.", param="prompt")
    return pack_tokens(prompt)


def _echo(prompt: str | list[int], served: ServedModel) -> str:
    """A text is echoed as it came; encoding and decoding may change it."""
    return prompt if isinstance(prompt, str) else served.decode(prompt)


async def _stream(exchange: Exchange, request: CompletionRequest, generation: Generation, echoes: list[str], prompt_tokens: int) -> None:
    writer = ChunkWriter(_head(exchange, request), around_text=(b'"text":', b""), with_usage=request.wants_usage)

    def chunk(choice: Choice, gain: Gain) -> bytes:
        echo, echoes[choice.index] = echoes[choice.index], ""
        nvext = told(request.wants_told, choice) if choice.finish_reason else None
        return writer.text(choice.index, echo + gain.text, choice.finish_reason, nvext)

    await stream_chunks(exchange, generation, chunk, lambda: writer.last(usage_of(generation, prompt_tokens, request.n or 1)))


async def _whole(exchange: Exchange, request: CompletionRequest, generation: Generation, echoes: list[str], prompt_tokens: int) -> None:
    answers = await generation.finish()
    choices = [
        {"index": choice.index, "text": echo + answer.text, "logprobs": None, "finish_reason": choice.finish_reason}
        for choice, echo, answer in zip(generation.choices, echoes, answers, strict=True)
    ]
    usage = usage_of(generation, prompt_tokens, request.n or 1).as_json()
    await exchange.send_json(200, _encode(_head(exchange, request) | whole(choices, usage, request, generation)))


def _head(exchange: Exchange, request: CompletionRequest) -> dict[str, Any]:
    return {"id": "cmpl-" + exchange.request_id, "object": "text_completion", "created": int(time.time()), "model": request.model}
