"""Notices the client's leaving while its request is worked on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from frontend.http.asgi import Scope
from protocol.errors import ClientGone

LEAVING: Final = "kvmesh.leaving"
"""Is where a scope has its Leaving."""


class Leaving:
    """A Leaving is told by the server that a client has gone before its answer's end, and tells
    whoever is to know.

    ASGI's own way is to wait for a message, which takes a task for each request, and servers cancel
    no handler that is not sending.

    Attributes:
        tell: called once, when the client goes; None while nobody is to know.
    """

    __slots__ = ("_gone", "tell")

    def __init__(self) -> None:
        self._gone = False
        self.tell: Callable[[], object] | None = None

    def note(self) -> None:
        """Notes that the client has gone."""
        self._gone = True
        if self.tell is not None:
            self.tell()

    async def until(
        self, work: Coroutine[Any, Any, None], task: "asyncio.Task[Any] | None"
    ) -> None:
        """Awaits `work`, cancelling it as soon as the client has gone; one that only closes its
        sending half counts as gone.

        Args:
            task: the one that runs this.
        Raises:
            ClientGone: the client left first.
        """
        if self._gone:
            work.close()
            raise ClientGone("The client left.")
        assert task is not None
        self.tell = task.cancel
        try:
            await work
        except asyncio.CancelledError:
            if self._gone and task.uncancel() == 0:
                raise ClientGone("The client left.") from None
            raise
        finally:
            self.tell = None  # or each would hold the other until garbage is collected


def leaving_of(scope: Scope) -> Leaving:
    """Returns what the server tells of the client of a request."""
    found: Leaving = scope[LEAVING]
    return found
