"""What the choices of a request gained in one turn, and who is told of it."""

from collections.abc import Callable, Iterable
from typing import Protocol

from frontend.fleet.wakeup import Send
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Gain

Moved = list[tuple[Choice, Gain]]
"""Pairs each choice that moved with what it gained."""

Tell = Callable[[Moved], Send | None]
"""Makes at once what a client is told of what a turn gained; returns None, and does nothing, where
that takes a handler.
"""


class Follower(Protocol):
    """A Follower holds choices to what was promised of them."""

    async def follow(self, moved: Iterable[tuple[Choice, Gain]]) -> None:
        """Takes what choices have gained, before anybody else does; raises a MeshError to have the
        request fail.
        """
        ...
