"""What is known of an output that is kept, and which go first where there is no room for all."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from protocol.diffusion import Output


@dataclass(eq=False)
class Kept:
    """A Kept is an output that can be fetched.

    Attributes:
        name: where it lies in its Place.
        wanted_until: somebody is fetching it, or about to, until then, by the loop's clock.
        fetched: somebody has read it to its end.
        preview: it was shown on the way to others.
        timer: runs out with its lifetime.
        wanted_timer: runs out when it is wanted no more.
    """

    output: Output
    name: str
    wanted_until: float = 0.0
    fetched: bool = False
    preview: bool = False
    timer: asyncio.TimerHandle | None = None
    wanted_timer: asyncio.TimerHandle | None = None

    def stop_timers(self) -> None:
        """Has neither its lifetime run out nor anybody told."""
        for timer in (self.timer, self.wanted_timer):
            if timer is not None:
                timer.cancel()


def droppable(kept: Iterable[Kept], now: float) -> list[Kept]:
    """Returns what may be dropped, in the order in which it is.

    The oldest that nobody wants go first; then, in need, what somebody has already and another one
    may be reading, and previews. Nothing else that is wanted goes.

    Args:
        kept: the oldest first.
    """
    found = [each for each in kept if each.wanted_until <= now or each.fetched or each.preview]
    return sorted(found, key=lambda each: (each.wanted_until > now, each.preview))
