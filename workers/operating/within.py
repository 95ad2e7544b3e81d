"""An engine is waited for no longer than its operator says."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

AnswerT = TypeVar("AnswerT")


class GaveNoAnswer(Exception):
    """A GaveNoAnswer says that an engine is still at something that nobody can stop.

    Attributes:
        limit_s: seconds for which it was waited.
    """

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"no answer after {limit_s:g} s")
        self.limit_s = limit_s


async def within(limit_s: float, answer: Awaitable[AnswerT]) -> AnswerT:
    """Returns an engine's answer.

    Raises:
        GaveNoAnswer: it did not come in so many seconds.
    """
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await answer
    except TimeoutError:
        if not limit.expired():
            raise
        raise GaveNoAnswer(limit_s) from None
