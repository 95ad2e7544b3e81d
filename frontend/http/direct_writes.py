"""Pieces of a streamed body are written where they are made, without a turn of the handler."""

from collections.abc import Callable
from typing import Final, Protocol

from frontend.http.asgi import Scope

DIRECT_WRITES: Final = "kvmesh.direct_writes"
"""Names, in the scope of a request, its DirectWrites; whoever takes them takes them out, since they
know the scope.
"""


WriteOf = Callable[[bytes], Callable[[], None]]
"""A WriteOf returns what writes a piece, which must not be empty; that is to be called in the turn
of the loop in which it was made, and does not raise.
"""


class DirectWrites(Protocol):
    """A DirectWrites writes to a client what need not wait."""

    def ready(self) -> bool:
        """Returns whether a piece can be written now: the body has begun and comes in chunks, and
        the client has read what was written before, but for what is little.
        """
        ...

    @property
    def write_of(self) -> WriteOf:
        """Returns what may be used in the turn of the loop in which `ready` returned True."""
        ...


def offer_direct_writes(scope: Scope, direct: DirectWrites) -> None:
    """Puts the DirectWrites of a request that may be answered by a stream into its scope."""
    if scope["method"] == "POST":
        scope[DIRECT_WRITES] = direct
