"""What an operator asks is done to the engine, one thing after the other, out of the requests'
way.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from msgspec import Struct

from protocol.errors import Conflict, DeadlineExceeded, EngineFault, InvalidRequest, Overloaded
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.operated import Operated
from workers.engine_controls import ChangeFailed, EngineRoutes
from workers.operating.bodies import body_of, for_engine
from workers.operating.routes import ALIASES, ROUTE_OF, Route, WhenBusy
from workers.operating.standing import HOLDING, MEMORY, Standing

log = logging.getLogger(__name__)

Act = Callable[[Any], Awaitable[Any]]

WAITING_MAX: Final = 8
"""At most this many things wait for the one under way: a script's, not a crowd's."""

ANSWER_S_MAX: Final = 3_600.0
"""An answer is waited for this many seconds, the wait for running requests included; what is under
way then goes on, and the worker takes no requests until it is done.
"""

SETTLE_S: Final = 30.0
"""A scheduler may have something to do for this many seconds after the last request has ended, as
the hand-over of a prompt's cache.
"""

LOOK_S_MAX: Final = 300.0
"""What changes nothing may take this many seconds: a profile of all ranks is written meanwhile."""

_HELD: Final = (
    "A pause holds requests with their cache: continue_generation first, or pause with the mode "
    "retract."
)

_NO_ANSWER_S: Final = 5.0
"""Requests that are to end now are waited for this many seconds: a step."""


class Operator:
    """An Operator does to an engine what is asked over the routes. Lives on the worker's loop.

    Args:
        withdraw: called with True before the engine is to get no more requests, and with False
        when it may again.
        on_change: called whenever `operated` or `unusable` is another.
    """

    def __init__(
        self,
        engine: EngineRoutes,
        *,
        withdraw: Callable[[bool], None],
        on_change: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._withdraw = withdraw
        self._on_change = on_change
        self._standing = Standing()
        self._one = asyncio.Lock()
        self._ended = asyncio.Event()
        self._under_way: set[asyncio.Task[Any]] = set()
        """Holds what is done and what waits for it: WAITING_MAX at most."""

    @property
    def operated(self) -> Operated:
        """Returns what frontends are told."""
        return self._standing.told(self._engine.weight_version)

    @property
    def unusable(self) -> str:
        """Returns why the engine's answers would be wrong, in words; empty if they are right."""
        return self._standing.unusable

    def controls(self) -> Iterator[tuple[str, tuple[type[Struct], Act]]]:
        """Yields each route that the engine has, by its names, with the struct of its body and what
        takes that.
        """
        for name, route in ROUTE_OF.items():
            if name in self._engine.bodies:
                control = body_of(route, self._engine.bodies[name]), partial(self.act, route)
                yield name, control
                yield from ((alias, control) for alias, of in ALIASES.items() if of == name)

    def note_idle(self) -> None:
        """Notes that requests have ended."""
        self._ended.set()

    def leave(self) -> None:
        """Has what a pause holds go on elsewhere, since the worker leaves."""
        if self._standing.withdrawn:
            self._engine.end_all(lost=True)

    def close(self) -> None:
        """Waits for nothing any more."""
        for task in self._under_way:
            task.cancel()

    async def act(self, route: Route, body: Struct) -> Any:
        """Does what was asked, after what was asked before, and returns the answer.

        Raises:
            InvalidRequest, Conflict: nothing was changed; the message says why.
            EngineFault: the engine failed on it.
            Overloaded: too much waits already.
            DeadlineExceeded: it is still under way.
        """
        if len(self._under_way) > WAITING_MAX:
            raise Overloaded("Too much is being asked of this worker.")
        task = asyncio.get_running_loop().create_task(self._in_turn(route, body))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                return await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceeded(f"{route.name} is still under way.") from None

    async def _in_turn(self, route: Route, body: Struct) -> Any:
        if route.looks:
            return await self._look(route, body)
        async with self._one:
            tags = self._tags(route, body)
            mode = getattr(body, "mode", None)
            if conflict := self._standing.conflict(route, tags=tags, mode=mode):
                raise Conflict(conflict)
            log.info("%s begins", route.name)
            async with self._apart(route):
                if route.when_busy is not None:
                    await self._make_room(route, body)
                answer = await self._ask(route, body)
                self._note(route, body, tags)
            log.info("%s is done", route.name)
            return answer

    async def _look(self, route: Route, body: Struct) -> Any:
        try:
            async with asyncio.timeout(LOOK_S_MAX):
                return await self._engine.ask(
                    route.name, for_engine(body, self._engine.bodies[route.name])
                )
        except TimeoutError:
            raise DeadlineExceeded(f"{route.name}: no answer after {LOOK_S_MAX:g} s.") from None
        except ChangeFailed as error:
            raise EngineFault(f"{route.name} failed: {error}") from None

    @asynccontextmanager
    async def _apart(self, route: Route) -> AsyncGenerator[None]:
        """Has the worker take no requests while entered, where the route says so, and afterwards if
        it stands so that it cannot.
        """
        self._standing.under_way = route
        self._tell()
        try:
            yield
        finally:
            self._standing.under_way = None
            self._tell()

    async def _make_room(self, route: Route, body: Any) -> None:
        """Has running requests end, unless a pause holds them, and then the cache be empty.

        Raises:
            Conflict: they do not end.
        """
        stays = getattr(body, "mode", None) in HOLDING
        if not stays and not self._standing.paused:
            await self._end_requests(_when_busy(route, body), body.wait_s)
        if route.empties and getattr(body, "flush_cache", True):
            if not await self._engine.flush(0.0 if self._standing.paused else SETTLE_S):
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

    async def _ask(self, route: Route, body: Any) -> Any:
        if route.name == "flush_cache":
            return {"success": True, "message": "The cache is empty."}
        if route.name == "update_weight_version" and body.abort_all_requests:
            self._engine.end_all(lost=False)
        try:
            return await self._engine.ask(
                route.name, for_engine(body, self._engine.bodies[route.name])
            )
        except ChangeFailed as error:
            reason = str(error)[:MESSAGE_CHARS_MAX]
        if not route.loads:
            raise EngineFault(f"{route.name} failed: {reason}")
        log.error("%s failed: %s", route.name, reason)
        await self._go_back(reason)
        raise InvalidRequest(f"The weights could not be loaded, and are as before: {reason}")

    async def _go_back(self, reason: str) -> None:
        """Has the weights be those before an update that failed.

        Raises:
            EngineFault: they cannot be had again, and the engine is not to be used.
        """
        self._standing.in_session = False
        self._standing.flushes += 1
        if await self._engine.restore():
            return
        self._standing.unusable = (
            f"its weights may be those of two models, since an update failed: {reason}"
        )[:MESSAGE_CHARS_MAX]
        raise EngineFault(
            f"The weights could not be loaded, and those before cannot be had again: {reason} The "
            "worker takes no requests until update_weights_from_disk has succeeded."
        )

    def _note(self, route: Route, body: Struct, tags: frozenset[str]) -> None:
        """Takes over how the engine stands after what was done."""
        standing = self._standing
        match route.name:
            case "pause_generation":
                standing.paused = getattr(body, "mode", None) or "nothing runs"
            case "continue_generation":
                standing.paused = ""
            case "begin_weight_update" | "end_weight_update":
                standing.in_session = route.name == "begin_weight_update"
            case "release_memory_occupation":
                standing.released |= tags
            case "resume_memory_occupation":
                back = tags & standing.released
                standing.released -= back
                standing.lacks_weights |= "weights" in back and self._engine.loses_weights
            case "update_weights_from_disk":
                standing.unusable = ""
            case _:
                pass
        if route.loads:
            standing.lacks_weights = False

    def _tags(self, route: Route, body: Any) -> frozenset[str]:
        """Returns the parts of the memory that a body is about, which it names from here on.

        Raises:
            InvalidRequest: there is no such part.
        """
        if not hasattr(body, "tags"):
            return frozenset()
        if unknown := set(body.tags or ()) - set(MEMORY):
            raise InvalidRequest(
                f"tags may be {', '.join(MEMORY)}, not {min(unknown)[:80]!r}.", param="tags"
            )
        resumes = route.name == "resume_memory_occupation"
        tags = frozenset(body.tags or (self._standing.released if resumes else MEMORY))
        body.tags = sorted(tags)
        return tags

    def _tell(self) -> None:
        self._withdraw(self._standing.withdrawn or bool(self.unusable))
        self._on_change()


def _when_busy(route: Route, body: Any) -> WhenBusy:
    if body.when_busy is not None:
        return body.when_busy
    if getattr(body, "abort_all_requests", False) or getattr(body, "mode", None) == "abort":
        return "abort"
    assert route.when_busy is not None
    return route.when_busy
