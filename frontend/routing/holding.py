"""Decides when a request is held back by the frontend although a rank would take it.

Pure.

An engine never runs slower for having more to choose from: its prefill batches are full, and its
own queue is in the order of priorities. So a request is held only for a choice that is still open,
between several ranks, and only while each of them has enough to be busy with until that choice is
made. Where load is shed, a request is sent only where it would run at once: what waits here is
counted, and refused.
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

SHED_STEPS_AHEAD: Final = 2
"""Counts the prefill steps' worth of prompts from which on every rank counts as busy where load is
shed: more is latency for who has been admitted.
"""


class RankRoom(Protocol):
    """A RankRoom tells what a rank has room for."""

    @property
    def prefill_tokens(self) -> int:
        """Counts the prompt tokens that wait on the rank to be computed."""
        ...

    @property
    def prefill_step_tokens(self) -> int:
        """Bounds the prompt tokens that the rank computes in one step."""
        ...

    @property
    def orders_by_priority(self) -> bool:
        """Tells whether what waits on the rank is in the order of priorities."""
        ...

    @property
    def hungry(self) -> bool:
        """Tells whether the rank would be busier with more."""
        ...

    @property
    def takes_one_more(self) -> bool:
        """Tells whether the rank's engine would not refuse a request."""
        ...

    def runs_at_once(self, prompt_tokens: int) -> bool:
        """Returns whether the rank would run a request of so many prompt tokens at once."""
        ...


RankT = TypeVar("RankT", bound=RankRoom)


def open_ranks(
    ranks: Sequence[RankT], prompt_tokens: int, *, may_wait: bool, sheds: bool
) -> Sequence[RankT]:
    """Returns those of `ranks` that a request may be sent to now; none if it should wait in the
    frontend.

    Args:
        may_wait: a later choice may be the better one: other ranks would do that have no room now,
        or nothing is lost by waiting here.
    """
    ranks = [rank for rank in ranks if rank.takes_one_more]
    if not (may_wait or sheds) and all(rank.orders_by_priority for rank in ranks):
        return ranks
    free = [rank for rank in ranks if rank.runs_at_once(prompt_tokens)]
    if sheds:
        return (
            free
            if any(
                rank.prefill_tokens < SHED_STEPS_AHEAD * rank.prefill_step_tokens for rank in free
            )
            else []
        )
    if not any(rank.hungry for rank in ranks):
        return []
    return free or [rank for rank in ranks if rank.hungry]
