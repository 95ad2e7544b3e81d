"""What an operator asks is done to the engine, one thing after the other, out of the requests'
way.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final

from msgspec import Struct

from protocol.errors import Conflict, DeadlineExceeded, EngineFault, InvalidRequest, Overloaded
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.operated import Operated
from workers.engine_controls import ChangeFailed, EngineRoutes
from workers.operating.bodies import body_of, for_engine
from workers.operating.room import Room
from workers.operating.routes import ALIASES, LOAD_S_MAX, ROUTE_OF, Route
from workers.operating.standing import MEMORY, Standing
from workers.operating.within import GaveNoAnswer, within

log = logging.getLogger(__name__)

Act = Callable[[Any], Awaitable[Any]]

WAITING_MAX: Final = 8
"""At most this many things wait for the one under way: a script's, not a crowd's."""

ANSWER_S_MAX: Final = 3_600.0
"""An answer is waited for this many seconds, the wait for running requests included; what is under
way then goes on, and the worker takes no requests until it is done.
"""

LOOK_S_MAX: Final = 300.0
"""What changes nothing may take this many seconds: a profile of all ranks is written meanwhile."""


class Operator:
    """An Operator does to an engine what is asked over the routes. Lives on the worker's loop.

    Args:
        withdraw: called with True before the engine is to get no more requests, and with False
        when it may again.
        on_change: called whenever `operated` or `unusable` is another.
        give_up: called with the reason, in words, when the engine is at something that it does not
        end and nobody can stop: it is dead to the worker.
    """

    def __init__(
        self,
        engine: EngineRoutes,
        *,
        withdraw: Callable[[bool], None],
        on_change: Callable[[], None],
        give_up: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._withdraw = withdraw
        self._on_change = on_change
        self._give_up = give_up
        self._standing = Standing()
        self._room = Room(engine, self._standing)
        self._one = asyncio.Lock()
        self._session_s = 0.0
        self._forsaken: asyncio.TimerHandle | None = None
        """Takes an update of several calls back of which no call comes any more."""
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
        self._room.note_idle()

    def leave(self) -> None:
        """Has what a pause holds go on elsewhere, since the worker leaves."""
        if self._standing.withdrawn:
            self._engine.end_all(lost=True)

    def close(self) -> None:
        """Waits for nothing any more."""
        self._await_call(None)
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
            self._engine.check(route.name, for_engine(body, self._engine.bodies[route.name]))
            self._await_call(None)
            try:
                async with self._apart(route):
                    if route.when_busy is not None:
                        await self._room.make(route, body)
                    answer = await self._ask(route, body)
                    self._note(route, body, tags)
            finally:
                if self._standing.in_session:
                    self._await_call(self._session_s)
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

        Raises:
            EngineFault: the engine gave no answer, and is given up.
        """
        self._standing.under_way = route
        self._tell()
        try:
            yield
        except GaveNoAnswer as error:
            reason = f"{route.name} gave no answer after {error.limit_s:g} s, and cannot be stopped"
            self._standing.unusable = reason
            self._standing.given_up = True
            self._give_up(reason)
            raise EngineFault(f"{reason}: the worker ends, to be started anew.") from None
        finally:
            self._standing.under_way = None
            self._tell()

    async def _ask(self, route: Route, body: Any) -> Any:
        if route.name == "flush_cache":
            return {"success": True, "message": "The cache is empty."}
        if route.name == "update_weight_version" and body.abort_all_requests:
            self._engine.end_all(lost=False)
        asked = for_engine(body, self._engine.bodies[route.name])
        try:
            return await within(body.limit_s, self._engine.ask(route.name, asked))
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
        if await within(LOAD_S_MAX, self._engine.restore()):
            return
        self._standing.unusable = (
            f"its weights may be those of two models, since an update failed: {reason}"
        )[:MESSAGE_CHARS_MAX]
        raise EngineFault(
            f"The weights could not be loaded, and those before cannot be had again: {reason} The "
            "worker takes no requests until update_weights_from_disk has succeeded."
        )

    def _await_call(self, seconds: float | None) -> None:
        """Takes the update of several calls back that has begun if no call comes for so long; None
        for a call that has come.
        """
        if self._forsaken is not None:
            self._forsaken.cancel()
            self._forsaken = None
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._forsaken = loop.call_later(seconds, self._begin_taking_back)

    def _begin_taking_back(self) -> None:
        self._forsaken = None
        task = asyncio.get_running_loop().create_task(self._take_back())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _take_back(self) -> None:
        """Ends an update of several calls that nobody ended, with the weights from before."""
        async with self._one:
            if self._forsaken is not None or not self._standing.in_session:
                return  # a call came at the same time
            reason = f"no call of an update that had begun came for {self._session_s:g} s"
            log.error("%s: the weights before are loaded again", reason)
            with suppress(EngineFault):  # the worker says so
                async with self._apart(ROUTE_OF["end_weight_update"]):
                    await self._go_back(reason)

    def _note(self, route: Route, body: Any, tags: frozenset[str]) -> None:
        """Takes over how the engine stands after what was done."""
        standing = self._standing
        match route.name:
            case "pause_generation":
                standing.paused = getattr(body, "mode", None) or "nothing runs"
            case "continue_generation":
                standing.paused = ""
            case "begin_weight_update" | "end_weight_update":
                standing.in_session = route.name == "begin_weight_update"
                self._session_s = body.limit_s
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
