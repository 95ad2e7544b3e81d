"""How long answers take once they have begun, and so by when one must begin to be finished in time. Pure.

A queue in order of arrival hands its places, once more comes than can be served, to those who have waited longest: whose deadlines are
nearest. Each then begins too late, is cut off before its end, and an overloaded fleet finishes hardly anything although it never rests.
So who can no longer be finished in time gives its place to those behind, who can.
"""

from typing import Final

ANSWERS: Final = 64
"""Over which times are averaged: enough for the mean of mixed lengths, few enough to follow a load that changes."""

MARGIN: Final = 1.25
"""Over the usual time for so many tokens: that varies with what else runs."""

SHARE_MAX: Final = 0.5
"""Of a request's whole time: who has not waited for half of it is never taken for hopeless, whatever others took."""


class AnswerTimes:
    """Tokens of the latest answers of one model, and their seconds from the first to the last."""

    def __init__(self) -> None:
        self._answers = 0
        self._tokens = 0.0
        self._seconds = 0.0

    def note(self, tokens: int, seconds: float) -> None:
        """An answer ended so long after its first token."""
        self._answers = min(self._answers + 1, ANSWERS)
        self._tokens += (tokens - 1 - self._tokens) / self._answers
        self._seconds += (seconds - self._seconds) / self._answers

    def begin_by(self, deadline: float, now: float, tokens_max: int) -> float:
        """When an answer of so many tokens at most, asked for `now`, must begin to end by `deadline`, all in seconds.

        Where the usual answer is shorter than `tokens_max`, this one is taken to be as long as that.
        """
        if self._tokens <= 0:
            return deadline
        seconds = MARGIN * self._seconds * min(1.0, (tokens_max - 1) / self._tokens)
        return deadline - min(seconds, SHARE_MAX * (deadline - now))
