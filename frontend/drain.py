"""Makes a frontend leave: first it says so, then it refuses what is new, at last it ends what is
still open with an error.

    SERVING --signal--> LEAVING --grace over--> REFUSING --time over, or a second signal--> CUTTING

/ready says no from LEAVING on. Over it is as soon as nothing is open, but not before REFUSING.
"""

import asyncio
from collections.abc import Callable, Collection
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

from protocol.errors import MeshError, ShuttingDown

CUT_S_MAX: Final = 2.0
"""Bounds the time for the errors that end what is open: twice what a client gets to take one
(frontend/http/exchange.py).
"""


class Stage(IntEnum):
    """A Stage says how far the leaving is; it only ever goes on."""

    SERVING = 0
    LEAVING = 1  # requests are still taken, for whoever has not read /ready yet
    REFUSING = 2
    CUTTING = 3


class OpenRequest(Protocol):
    """An OpenRequest is a request that is being answered."""

    def cut_off(self, error: MeshError) -> None:
        """Ends the request with this error; not at all if it is ending anyway."""
        ...


OpenT = TypeVar("OpenT", bound=OpenRequest)


class Drain(Generic[OpenT]):
    """A Drain keeps the stage of a frontend's leaving, and the requests that are open.

    Args:
        grace_s: of LEAVING.
        finish_s_max: of REFUSING.
    Attributes:
        until: when the stage ends by itself, None if it does not.
        on_begin: called when the leaving begins.
        on_stage: called on entering a stage.
    """

    def __init__(self, *, grace_s: float, finish_s_max: float) -> None:
        self._grace_s = grace_s
        self._finish_s_max = finish_s_max
        self._open: dict[OpenT, None] = {}
        """Holds the open requests as they arrived, as many as there are connections."""
        self._given_up = False
        self._changed = asyncio.Event()
        self.stage = Stage.SERVING
        self.until: float | None = None
        self.on_begin: Callable[[], None] = lambda: None
        self.on_stage: Callable[[Stage], None] = lambda _: None

    @property
    def begun(self) -> bool:
        """Tells whether the frontend is leaving."""
        return self.stage > Stage.SERVING

    @property
    def refusing(self) -> bool:
        """Tells whether new requests are to be answered with `refusal`."""
        return self.stage >= Stage.REFUSING

    @property
    def open(self) -> Collection[OpenT]:
        """Returns the requests that are being answered, in the order of their arrival."""
        return tuple(self._open)

    @property
    def over(self) -> bool:
        """Tells whether the process may end."""
        return self._given_up or (self.refusing and not self._open)

    def enter(self, request: OpenT) -> None:
        """Notes that a request is being answered."""
        self._open[request] = None

    def leave(self, request: OpenT) -> None:
        """Notes that a request was answered."""
        self._open.pop(request, None)
        if self.refusing:
            self._changed.set()

    def on_signal(self, now: float) -> None:
        """Goes on at a signal: the first begins to leave, the second ends what is open, a third
        does not even wait for that.
        """
        if self.stage is Stage.SERVING:
            self._go(Stage.LEAVING, now + self._grace_s)
        elif self.stage is Stage.CUTTING:
            self._given_up = True
        else:
            self._go(Stage.CUTTING, now + CUT_S_MAX)
        self.advance(now)
        self._changed.set()

    def advance(self, now: float) -> None:
        """Goes on to the stage that is due."""
        if self.stage is Stage.LEAVING and self._due(now):
            self._go(Stage.REFUSING, now + self._finish_s_max)
        if self.stage is Stage.REFUSING and self._due(now):
            self._go(Stage.CUTTING, now + CUT_S_MAX)
        if self.stage is Stage.CUTTING and self._due(now):
            self._given_up = True

    async def until_over(self) -> None:
        """Returns when the process may end."""
        loop = asyncio.get_running_loop()
        while not self.over:
            try:
                async with asyncio.timeout_at(self.until):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            self.advance(loop.time())

    def _due(self, now: float) -> bool:
        return self.until is not None and now >= self.until

    def _go(self, stage: Stage, until: float) -> None:
        self.stage, self.until = stage, until
        if stage is Stage.LEAVING:
            self.on_begin()
        if stage is Stage.CUTTING:
            for request in self.open:
                request.cut_off(
                    ShuttingDown(
                        "The server shut down before the request was finished. Please retry."
                    )
                )
        self.on_stage(stage)


def refusal() -> ShuttingDown:
    """Returns the error that a new request is told while the frontend leaves."""
    return ShuttingDown("The server is shutting down. Please retry.")
