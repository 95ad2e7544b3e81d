"""A streamed answer is read as it comes: when its pieces arrived, and how many tokens it has."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

ERROR_BYTES_MAX = 16_384
"""Bounds what is kept of an answer that is an error."""

LINE_BYTES_MAX = 1 << 20
"""Bounds one line of a stream, so that no server fills the memory."""


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None

    def says_something(self) -> bool:
        """Tells whether it brings anything of the answer."""
        if self.delta is None:
            return bool(self.text)
        told = self.delta
        return bool(told.content or told.reasoning_content or told.reasoning or told.tool_calls)


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """A Usage is what a server says of an answer's tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _PromptDetails | None = None

    @property
    def cached_tokens(self) -> int | None:
        """Returns how many of the prompt's tokens were cached; None where it is not said."""
        return self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None


class Whole(msgspec.Struct):
    """A Whole is an answer that is not streamed, as far as it is read."""

    usage: Usage | None = None


_chunk = msgspec.json.Decoder(_Chunk).decode


class StreamedAnswer:
    """A StreamedAnswer takes the bytes of a stream.

    Attributes:
        times: when each piece of text arrived, in seconds of `clock`.
        usage: what the server says of its tokens, None if it does not.
        error: why there is no whole answer; None while all is well.
    """

    def __init__(self, clock: Callable[[], float], note_piece: Callable[[float], None]) -> None:
        self.times: list[float] = []
        self.usage: Usage | None = None
        self.error: str | None = None
        self._clock = clock
        self._note_piece = note_piece
        self._line = b""
        self._done = False
        self._refusal = b""

    def take(self, status: int, data: bytes) -> None:
        """Takes the next bytes of the answer."""
        if status != 200:
            self._refusal = (self._refusal + data)[:ERROR_BYTES_MAX]
            return
        now = self._clock()
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), now)
        if len(self._line) > LINE_BYTES_MAX:
            self._line, self.error = b"", "a line without an end"

    def end(self, status: int) -> None:
        """Takes note that the answer has ended."""
        if status != 200:
            self.error = f"{status}: {said_of_error(self._refusal)}"
        elif self.error is None and not self._done:
            self.error = "the stream has no end ([DONE])"

    def _event(self, event: bytes, now: float) -> None:
        if event == b"[DONE]":
            self._done = True
            return
        try:
            chunk = _chunk(event)
        except msgspec.DecodeError:
            self.error = "a chunk that is none"
            return
        if chunk.error is not None:
            self.error = f"in the stream: {_message(chunk.error)}"
        if chunk.usage is not None:
            self.usage = chunk.usage
        if any(choice.says_something() for choice in chunk.choices or ()):
            self.times.append(now)
            self._note_piece(now)


def said_of_error(body: bytes) -> str:
    """Returns what an error's body says is wrong, on one line."""
    try:
        told: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = body.decode(errors="replace")
    with suppress(LookupError, TypeError):
        told = told["error"]
    return _message(told)


def _message(error: Any) -> str:
    with suppress(LookupError, TypeError):
        error = error["message"]
    return " ".join(str(error).split())[:200] or "nothing is said"
