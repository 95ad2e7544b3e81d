"""Collects what a choice has gained since it was last asked, and the whole of it at the end."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from protocol.generation import Content, Extras, Logprobs, Reasoning, ToolCall
from protocol.tokens import TOKEN_ID_BYTES

PORTION_TOKENS: Final = 64
"""Counts the tokens whose log probabilities are told together: with 20 alternatives each, two
milliseconds.
"""


class Gain(Struct):
    """A Gain is what one choice got in one turn: text, thinking, calls, scores."""

    text: str = ""
    reasoning: str = ""
    calls: Sequence[ToolCall] = ()
    """Lists pieces of tool calls, one of each call that gained something."""
    token_ids: bytes = b""
    """Holds the tokens that `logprobs` speak of, packed u32; empty where nobody asked for log
    probabilities.
    """
    logprobs: Sequence[Logprobs] = ()
    prompt_logprobs: Logprobs | None = None
    more: bool = False
    """Says that it is a portion of a gain, behind which come others."""

    def portions(self) -> "Iterator[Gain]":
        """Yields the same gain in portions of some PORTION_TOKENS tokens with log probabilities;
        all else is in the first.
        """
        if len(self.token_ids) <= PORTION_TOKENS * TOKEN_ID_BYTES:
            yield self
            return
        portion, start, end = self, 0, 0
        token_ids, parts, self.logprobs, first = self.token_ids, self.logprobs, [], 0
        for number, part in enumerate(parts, start=1):
            end += len(part.chosen)  # four bytes each, as an id has
            if end - start >= PORTION_TOKENS * TOKEN_ID_BYTES or number == len(parts):
                portion.token_ids, portion.logprobs = token_ids[start:end], parts[first:number]
                portion.more = number < len(parts)
                yield portion
                portion, start, first = Gain(), end, number

    def __bool__(self) -> bool:
        """Returns whether there is anything to tell."""
        return bool(
            self.text or self.reasoning or self.calls or self.token_ids or self.prompt_logprobs
        )

    def take(self, packed: bytes, extras: Sequence[Extras]) -> None:
        """Adds what came beside the tokens `packed`."""
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[ToolCall] = []
        for extra in extras:
            for part in extra.parts:
                if isinstance(part, Content):
                    texts.append(part.text)
                elif isinstance(part, Reasoning):
                    thoughts.append(part.text)
                else:
                    calls.append(part)
        self.text += "".join(texts)
        self.reasoning += "".join(thoughts)
        self.calls = joined_calls(calls)
        self.logprobs = [extra.logprobs for extra in extras if extra.logprobs is not None]
        self.prompt_logprobs = next(
            (extra.prompt_logprobs for extra in extras if extra.prompt_logprobs is not None), None
        )
        if self.logprobs:
            self.token_ids = packed


class Answer:
    """An Answer holds all that a choice gained.

    Attributes:
        scored: tokens, packed u32, and their log probabilities, in order.
    """

    __slots__ = ("_calls", "_texts", "_thoughts", "prompt_logprobs", "scored")

    def __init__(self) -> None:
        self.scored: list[tuple[bytes, Sequence[Logprobs]]] = []
        self.prompt_logprobs: Logprobs | None = None
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []

    def add(self, gain: Gain) -> None:
        """Adds what the choice gained next."""
        self._texts.append(gain.text)
        self._thoughts.append(gain.reasoning)
        self._calls.extend(gain.calls)
        if gain.token_ids:
            self.scored.append((gain.token_ids, gain.logprobs))
        self.prompt_logprobs = self.prompt_logprobs or gain.prompt_logprobs

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def reasoning(self) -> str:
        return "".join(self._thoughts)

    @property
    def calls(self) -> list[ToolCall]:
        """Returns each tool call in one piece."""
        return joined_calls(self._calls)


def joined_calls(pieces: Sequence[ToolCall]) -> list[ToolCall]:
    """Returns pieces of the same call as one, in order of their first."""
    if len(pieces) < 2:
        return list(pieces)
    by_index: dict[int, list[ToolCall]] = {}
    for piece in pieces:
        by_index.setdefault(piece.index, []).append(piece)
    return [
        ToolCall(
            index,
            call_id=next((piece.call_id for piece in same if piece.call_id), ""),
            name=next((piece.name for piece in same if piece.name), ""),
            arguments="".join(piece.arguments for piece in same),
        )
        for index, same in by_index.items()
    ]
