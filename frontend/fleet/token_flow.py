"""Counts the tokens of a model's answers, and the time that they took. Pure.

What ended is added up when it ends and what runs is looked at by whoever asks, so that no token
costs anything for being counted.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from frontend.fleet.stream import RequestStream

FIRST_TOKENS_MAX: Final = 4_096
"""Bounds the first tokens remembered between two readings: more than a frontend begins in a
second.
"""


@dataclass(frozen=True, slots=True)
class Flow:
    """A Flow is what has flowed until some moment.

    Attributes:
        tokens: of all answers.
        streamed_tokens: of streams, behind the first of each.
        streaming_s: time that those took, summed over streams.
        prompt_tokens, cached_tokens: of prompts whose answers ended.
    """

    tokens: int = 0
    streamed_tokens: int = 0
    streaming_s: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0


class TokenFlow:
    """A TokenFlow adds up what a model's requests got from its workers."""

    def __init__(self) -> None:
        self._tokens = self._streamed_tokens = self._prompt_tokens = self._cached_tokens = 0
        self._streaming_s = 0.0
        self._read_at = 0.0
        self._first_tokens_s: deque[float] = deque(maxlen=FIRST_TOKENS_MAX)
        """Holds the times to the first tokens of what began and ended since the last reading."""

    def note_end(self, stream: RequestStream, now: float) -> None:
        """Adds a leg that ended, for whatever reason."""
        self._tokens += stream.tokens_received
        if stream.told_at_once and stream.begun_at:
            self._streamed_tokens += stream.tokens_received - 1
            self._streaming_s += now - stream.begun_at
            if stream.begun_at > self._read_at:
                self._first_tokens_s.append(_first_token_s(stream))
        finished = stream.finished
        if finished is not None:
            self._prompt_tokens += finished.prompt_tokens
            self._cached_tokens += finished.cached_tokens
            stream.prefill_placement.rank.hit_rate.note(
                finished.prompt_tokens, finished.cached_tokens, now
            )

    def read(self, running: Iterable[RequestStream], now: float) -> tuple[Flow, list[float]]:
        """Returns all that has flowed, and the times to the first tokens that came since the last
        reading, in seconds.

        Args:
            running: legs that have not ended.
        """
        tokens, streamed_tokens, streaming_s = (
            self._tokens,
            self._streamed_tokens,
            self._streaming_s,
        )
        first_tokens_s = list(self._first_tokens_s)
        self._first_tokens_s.clear()
        for stream in running:
            tokens += stream.tokens_received
            if stream.told_at_once and stream.begun_at:
                streamed_tokens += stream.tokens_received - 1
                streaming_s += now - stream.begun_at
                if stream.begun_at > self._read_at:
                    first_tokens_s.append(_first_token_s(stream))
        self._read_at = now
        flow = Flow(tokens, streamed_tokens, streaming_s, self._prompt_tokens, self._cached_tokens)
        return flow, first_tokens_s


def _first_token_s(stream: RequestStream) -> float:
    return stream.queue_s + stream.begun_at - stream.sent_at
