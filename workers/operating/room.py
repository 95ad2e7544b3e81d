"""An engine is brought to have nothing to do, as its operator says."""

import asyncio
from typing import Any, Final

from protocol.errors import Conflict
from workers.engine_controls import EngineRoutes
from workers.operating.routes import Route, WhenBusy
from workers.operating.standing import HOLDING, Standing
from workers.operating.within import within

SETTLE_S: Final = 30.0
"""A scheduler may have something to do for this many seconds after the last request has ended, as
the hand-over of a prompt's cache.
"""

_HELD: Final = (
    "A pause holds requests with their cache: continue_generation first, or pause with the mode "
    "retract."
)

_NO_ANSWER_S: Final = 5.0
"""Requests that are to end now are waited for this many seconds: a step."""


class Room:
    """A Room is what an engine has when no request runs on it, and its cache is empty."""

    def __init__(self, engine: EngineRoutes, standing: Standing) -> None:
        self._engine = engine
        self._standing = standing
        self._ended = asyncio.Event()

    def note_idle(self) -> None:
        """Notes that requests have ended."""
        self._ended.set()

    async def make(self, route: Route, body: Any) -> None:
        """Has running requests end, unless a pause holds them, and then the cache be empty.

        Raises:
            Conflict: they do not end.
            GaveNoAnswer: the engine does not say whether its cache is empty.
        """
        stays = getattr(body, "mode", None) in HOLDING
        if not stays and not self._standing.paused:
            await self._end_requests(_when_busy(route, body), body.wait_s)
        if route.empties and getattr(body, "flush_cache", True):
            settle_s = 0.0 if self._standing.paused else SETTLE_S
            if not await within(settle_s + body.limit_s, self._engine.flush(settle_s)):
                raise Conflict(_HELD if self._standing.paused else "The engine is not idle.")
            self._standing.flushes += 1

    async def _end_requests(self, when_busy: WhenBusy, wait_s: float) -> None:
        running = self._engine.running
        if running and when_busy == "refuse":
            raise Conflict(f"{running} requests run.")
        if when_busy != "wait":
            wait_s = max(wait_s, _NO_ANSWER_S)
            self._engine.end_all(lost=when_busy == "move")
        try:
            async with asyncio.timeout(wait_s):
                while self._engine.running:
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            raise Conflict(
                f"{self._engine.running} requests still run after {wait_s:g} s."
            ) from None


def _when_busy(route: Route, body: Any) -> WhenBusy:
    if body.when_busy is not None:
        return body.when_busy
    if getattr(body, "abort_all_requests", False) or getattr(body, "mode", None) == "abort":
        return "abort"
    assert route.when_busy is not None
    return route.when_busy
