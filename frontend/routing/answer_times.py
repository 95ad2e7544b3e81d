"""Tells how long answers take once they have begun, and so by when one must begin to be finished in
time.

Pure.

A queue in order of arrival hands its places, once more comes than can be served, to those who have
waited longest: whose deadlines are nearest. Each then begins too late, is cut off before its end,
and an overloaded fleet finishes hardly anything although it never rests. So who can no longer be
finished in time gives its place to those behind, who can.
"""

from collections import deque
from typing import Final

ANSWERS: Final = 64
"""Counts the answers that are looked back on: enough for mixed lengths, few enough to follow a load
that changes.
"""

MARGIN: Final = 1.25
"""Is the factor over the usual time for so many tokens, which varies with what else runs."""

SHARE_MAX: Final = 0.5
"""Bounds the share of a request's whole time that is kept for its answer: who has not waited for
half of it is never taken for hopeless, whatever others took.
"""


class AnswerTimes:
    """AnswerTimes keeps the tokens of the latest answers of one model behind their first, and the
    seconds that these took.
    """

    def __init__(self) -> None:
        self._tokens: deque[int] = deque(maxlen=ANSWERS)
        self._seconds: deque[float] = deque(maxlen=ANSWERS)

    def note(self, tokens: int, seconds: float) -> None:
        """Notes that an answer of so many tokens ended so long after its first one."""
        self._tokens.append(tokens - 1)
        self._seconds.append(seconds)

    def begin_by(self, deadline: float, now: float, tokens_max: int) -> float:
        """Returns when an answer of so many tokens at most, asked for `now`, must begin to end by
        `deadline`, all in seconds.

        It is taken to be as long as it may be, but not longer than the longest of late.
        """
        tokens = sum(self._tokens)
        if tokens <= 0:
            return deadline
        seconds = (
            MARGIN * sum(self._seconds) / tokens * min(max(0, tokens_max - 1), max(self._tokens))
        )
        return deadline - min(seconds, SHARE_MAX * (deadline - now))
