"""One loop turns what choices gain into events, whatever API's events they are; what OpenAI's
answers say at their end is made beside it.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from frontend.api.answers.cached_details import sglext
from frontend.api.answers.chunks import ChunkWriter, Last, Usage
from frontend.api.fields.nvext import told
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.fleet.wakeup import Send, nothing_to_send
from frontend.http.exchange import Exchange
from frontend.http.json_slices import SLICE_BYTES
from frontend.inflight.choice import Choice
from frontend.inflight.generation import Generation
from frontend.inflight.moved import Moved
from frontend.text.output.gain import Gain

CHOICES_AT_ONCE_MAX: Final = 16
"""Bounds the choices of one answer that are told where their tokens arrive: of more, the events may
be so large together that they are to be sent in several writes.
"""


class EventWriter(Protocol):
    """An EventWriter says in the words of one API what a generation gains."""

    async def begin(self) -> bytes:
        """Returns the events before all others; asked for when the first tokens have come."""
        ...

    def turn(self, moved: Moved) -> Iterable[tuple[Choice, Gain]]:
        """Returns what of a turn's gains is told one after the other: the gains, or portions of
        them.
        """
        ...

    def event(self, choice: Choice, gain: Gain) -> bytes:
        """Returns the events of one gain or portion; none where there is nothing to tell."""
        ...

    async def end(self) -> bytes:
        """Returns the events behind all others; asked for when every choice has ended."""
        ...


class _Telling:
    """A _Telling makes the write of what a stream gained, where that needs no handler."""

    __slots__ = ("_exchange", "_writer")

    def __init__(self, writer: EventWriter, exchange: Exchange) -> None:
        self._writer = writer
        self._exchange = exchange

    def tell(self, moved: Moved) -> Send | None:
        """Returns the write of a turn's gains; None where it takes the handler."""
        # log probabilities may be many, and told in portions
        if moved[0][1].token_ids or len(moved) > CHOICES_AT_ONCE_MAX:
            return None
        if (write_of := self._exchange.at_once()) is None:
            return None
        writer = self._writer
        events = b"".join([writer.event(choice, gain) for choice, gain in writer.turn(moved)])
        return write_of(events) if events else nothing_to_send


async def stream_events(exchange: Exchange, generation: Generation, writer: EventWriter) -> None:
    """Sends what every turn of the generation gained as one write, then the end.

    Nothing is sent before the first token, so that an error until then has its status. A turn's
    events that are large together are sent in several writes, with turns of the loop between. What
    is ordinary, text in the midst of an answer to a client that reads, is sent where it arrives.
    """
    turn, event_of, tell = writer.turn, writer.event, _Telling(writer, exchange).tell
    moved = await generation.advance()
    begin = await writer.begin()
    events = [begin] if begin else []
    while True:
        size = 0
        for choice, gain in turn(moved):
            if size >= SLICE_BYTES:
                await exchange.send_events(b"".join(events))
                events, size = [], 0
                await asyncio.sleep(0)
            event = event_of(choice, gain)
            size += len(event)
            events.append(event)
        if not generation.running:
            events.append(await writer.end())
            await exchange.end_events(b"".join(events))
            return
        if gained := b"".join(events):
            await exchange.send_events(gained)
        events = []
        moved = await generation.advance(tell)


class Chunks(Protocol):
    """A Chunks makes the chunks of one streamed answer."""

    def chunk(self, choice: Choice, gain: Gain, last: Last | None) -> bytes:
        """Returns one chunk of a choice, with what it says if it is the choice's last one."""
        ...


class ChunkEvents:
    """ChunkEvents tells a generation in OpenAI's chunks, those of chats or of completions.

    Args:
        chunks: makes the chunks.
        usage: counts the tokens so far.
        choices: those of the generation, which may still become more.
    """

    __slots__ = ("_choices", "_chunks", "_counting", "_request", "_usage", "_writer")

    def __init__(
        self,
        writer: ChunkWriter,
        chunks: Chunks,
        usage: Callable[[], Usage],
        choices: Sequence[Choice],
        *,
        request: ChatCompletionRequest | CompletionRequest,
    ) -> None:
        self._writer = writer
        self._choices = choices
        self._chunks = chunks
        self._usage = usage
        self._request = request
        self._counting = request.wants_usage_always

    async def begin(self) -> bytes:
        """Returns nothing, since there are no events before the first chunk."""
        return b""

    def turn(self, moved: Moved) -> Iterable[tuple[Choice, Gain]]:
        """Returns a turn's gains, in portions where log probabilities are told: a choice may have
        gained many.
        """
        if self._counting:
            self._writer.count(self._usage())
        if moved[0][1].token_ids:
            return ((choice, part) for choice, gain in moved for part in gain.portions())
        return moved

    def event(self, choice: Choice, gain: Gain) -> bytes:
        """Returns one chunk of a choice."""
        if choice.finish_reason is None or gain.more:
            return self._chunks.chunk(choice, gain, None)
        return self._chunks.chunk(choice, gain, last_of(choice, self._request))

    async def end(self) -> bytes:
        """Returns `sglext` of a chat and the counts, if they were asked for, and [DONE]."""
        ext = None
        if isinstance(self._request, ChatCompletionRequest):
            ext = sglext(self._request, self._choices)
        return self._writer.last(self._usage(), ext)


def last_of(choice: Choice, request: ChatCompletionRequest | CompletionRequest) -> Last | None:
    """Returns what a choice's chunk says if it is the last one; None before the choice has
    finished.

    A completion's says `sglext` too. SGLang has a chunk without choices for it there as well, at
    which its own bench_serving counts the request as failed.
    """
    if choice.finish_reason is None:
        return None
    ext = sglext(request, (choice,)) if isinstance(request, CompletionRequest) else None
    return Last(
        choice.finish_reason, ended_by(choice), _beside(told(request.wants_told, choice), ext)
    )


def _beside(nvext: dict[str, Any] | None, ext: dict[str, Any] | None) -> dict[str, Any]:
    """Returns what an answer says beside its choices of where and how it was made."""
    beside: dict[str, Any] = {}
    if nvext is not None:
        beside["nvext"] = nvext
    if ext is not None:
        beside["sglext"] = ext
    return beside


def ended_by(choice: Choice) -> dict[str, Any]:
    """Returns `matched_stop` as SGLang tells it, and `stop_reason` as vLLM does: the stop string or
    token that ended a choice, null where something else did; vLLM's does not name the model's own
    end.
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
    """Counts the tokens of a generation with n choices a prompt, so far; `prompt_tokens` is the sum
    over its prompts.

    Of each prompt only the first choice tells the cached tokens, as a prompt's tokens are counted
    once too.
    """
    completion_tokens = cached_tokens = reasoning_tokens = 0
    for choice in generation.choices:
        completion_tokens += choice.completion_tokens
        reasoning_tokens += choice.reasoning_tokens
        if choice.index % n == 0:
            cached_tokens += choice.cached_tokens
    return Usage(prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens)


def whole(
    choices: list[dict[str, Any]],
    usage: dict[str, Any],
    request: ChatCompletionRequest | CompletionRequest,
    generation: Generation,
) -> dict[str, Any]:
    """Returns what a whole answer has behind its head; `nvext` tells of the first choice."""
    nvext = told(request.wants_told, generation.choices[0])
    ext = sglext(request, generation.choices)
    return {"choices": choices, "usage": usage} | _beside(nvext, ext)
