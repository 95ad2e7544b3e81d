"""Pieces of a streamed body are written where they are made, without a turn of the handler."""

from typing import Final, Protocol, cast

from frontend.http.asgi import Scope
from frontend.http.cycle import Cycle

DIRECT_WRITES: Final = "kvmesh.direct_writes"
"""Names, in the scope of a request, its DirectWrites; whoever takes them takes them out, since they
know the scope.
"""


class DirectWrites(Protocol):
    """A DirectWrites writes to a client what need not wait."""

    def ready(self) -> bool:
        """Returns whether a piece can be written now: the body has begun and comes in chunks, and
        the client has read what was written before, but for what is little.
        """
        ...

    def write(self, piece: bytes) -> None:
        """Writes a piece, which must not be empty, right behind a `ready` that returned True."""
        ...


class CycleWrites:
    """A CycleWrites writes past `send` of its cycle, which does no more than this with a
    piece in the midst of a body: a message, two layers and a turn of the handler less.
    """

    __slots__ = ("_cycle", "_write")

    def __init__(self, cycle: Cycle) -> None:
        self._cycle = cycle
        self._write = cycle.transport.write

    def ready(self) -> bool:
        return self._cycle.in_chunks

    def write(self, piece: bytes) -> None:
        self._write(b"%x\r\n%b\r\n" % (len(piece), piece))


def offer_direct_writes(cycle: Cycle) -> None:
    """Puts the DirectWrites of a request that may be answered by a stream into its scope."""
    if cycle.scope["method"] == "POST":
        cast("Scope", cycle.scope)[DIRECT_WRITES] = CycleWrites(cycle)
