"""One loop from what choices gain to events, and what answers say at their end."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from frontend.api.answers.chunks import ChunkWriter, Last, Usage
from frontend.api.fields.nvext import told
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.http.exchange import Exchange
from frontend.http.json_pieces import PIECE_BYTES
from frontend.inflight.choice import Choice
from frontend.inflight.generation import Generation
from frontend.text.output.gain import Gain


async def stream_chunks(
    exchange: Exchange,
    generation: Generation,
    writer: ChunkWriter,
    chunk: Callable[[Choice, Gain, Last | None], bytes],
    usage: Callable[[], Usage],
    *,
    request: ChatCompletionRequest | CompletionRequest,
) -> None:
    """Send what every turn of the generation gained as one write, then the end.

    Nothing is sent before the first token.

    Args:
        chunk: one chunk of a choice, and what it says if it is the last one.
    """
    counting = request.wants_usage_always
    while True:
        moved = await generation.advance()
        if counting:
            writer.count(usage())
        if moved[0][1].token_ids:
            chunks = await _portioned(
                exchange,
                ((choice, part) for choice, gain in moved for part in gain.portions()),
                chunk,
                request,
            )
        else:
            chunks = b"".join(
                [chunk(choice, gain, last_of(choice, request)) for choice, gain in moved]
            )
        if not generation.running:
            await exchange.end_events(chunks + writer.last(usage()))
            return
        await exchange.send_events(chunks)


async def _portioned(
    exchange: Exchange,
    gains: Iterable[tuple[Choice, Gain]],
    chunk: Callable[[Choice, Gain, Last | None], bytes],
    request: ChatCompletionRequest | CompletionRequest,
) -> bytes:
    """Chunks with log probabilities, of which a choice may have gained many: sent as soon as they
    are large. Returns the rest.
    """
    chunks = bytearray()
    for choice, gain in gains:
        chunks += chunk(choice, gain, None if gain.more else last_of(choice, request))
        if len(chunks) >= PIECE_BYTES:
            await exchange.send_events(bytes(chunks))
            chunks.clear()
            await asyncio.sleep(0)
    return bytes(chunks)


def last_of(choice: Choice, request: ChatCompletionRequest | CompletionRequest) -> Last | None:
    """What a choice's chunk says if it is the last one."""
    return (
        None
        if choice.finish_reason is None
        else Last(choice.finish_reason, ended_by(choice), told(request.wants_told, choice))
    )


def ended_by(choice: Choice) -> dict[str, Any]:
    """The stop string or token that ended a choice, as SGLang tells it (`matched_stop`) and as vLLM
    does (`stop_reason`, which does not name the model's own end); null where something else did.
    """
    if choice.finish_reason not in ("stop", "tool_calls"):
        return {"matched_stop": None, "stop_reason": None}
    if choice.matched_stop is not None:
        return {"matched_stop": choice.matched_stop, "stop_reason": choice.matched_stop}
    finished = choice.stream.finished
    token_id = None if finished is None else finished.matched_token_id
    asked = token_id is not None and token_id in choice.request.sampling.stop_token_ids
    return {"matched_stop": token_id, "stop_reason": token_id if asked else None}


def usage_of(generation: Generation, prompt_tokens: int, n: int) -> Usage:
    """Token counts of a generation with n choices a prompt, so far; `prompt_tokens` is the sum over
    its prompts.

    Of each prompt only the first choice tells the cached tokens, as a prompt's tokens are counted
    once too.
    """
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=sum(choice.completion_tokens for choice in generation.choices),
        cached_tokens=sum(
            choice.cached_tokens for choice in generation.choices if choice.index % n == 0
        ),
        reasoning_tokens=sum(choice.reasoning_tokens for choice in generation.choices),
    )


def whole(
    choices: list[dict[str, Any]],
    usage: dict[str, Any],
    request: ChatCompletionRequest | CompletionRequest,
    generation: Generation,
) -> dict[str, Any]:
    """What an answer in one piece has behind its head. `nvext` speaks of the first choice."""
    body: dict[str, Any] = {"choices": choices, "usage": usage}
    nvext = told(request.wants_told, generation.choices[0])
    return body if nvext is None else body | {"nvext": nvext}
