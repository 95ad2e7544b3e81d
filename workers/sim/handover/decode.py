"""A simulated engine goes on from the caches that others have computed."""

import asyncio
from collections.abc import Callable, Sequence

from protocol.disaggregation import BootstrapServer
from protocol.generation import Generate
from protocol.replies import Delta, Failed
from workers.engine import FAKE_BOOTSTRAP_HOST
from workers.sim.handover.messages import (
    NO_CACHE,
    WAIT_S_MAX,
    Dropped,
    HandedOver,
    Leave,
    Meet,
    Said,
)
from workers.sim.handover.ways import Callers, Meetings


class DecodeLegs:
    """DecodeLegs awaits the caches of the prompts that an engine has taken pages for.

    Args:
        begin: has the engine go on from a cache that has come, of whose prompt so many tokens had
        been cached.
        fail: has it end a request.
        wait_s: seconds that a cache is awaited.
    """

    def __init__(
        self,
        meetings: Meetings,
        *,
        begin: Callable[[str, int], None],
        fail: Callable[[str, Failed], None],
        wait_s: float = WAIT_S_MAX,
    ) -> None:
        self.server: BootstrapServer | None = None
        self.meetings = meetings
        self._loop = asyncio.get_running_loop()
        self._begin = begin
        self._fail = fail
        self._wait_s = wait_s
        self._callers = Callers(meetings, self._on_said)
        self._coming: dict[str, Generate] = {}
        """Requests for which no pages are taken yet; bounded by the credit of frontends."""
        self._awaited: dict[str, tuple[Generate, asyncio.TimerHandle]] = {}
        """Requests whose pages are taken, and whose cache is awaited."""
        self._ids: dict[int, str] = {}
        """Room → the request of `_awaited` whose cache comes there."""

    def take(self, request: Generate) -> bool:
        """As Legs: it is run, which begins with taking pages."""
        bootstrap = request.bootstrap
        if bootstrap is not None and bootstrap.host != FAKE_BOOTSTRAP_HOST:
            self._coming[request.request_id] = request
        return False

    def expects(self, request_id: str) -> bool:
        """As Legs."""
        return request_id in self._coming

    def reserved(self, request_id: str) -> None:
        """Takes note that the pages for a prompt are taken."""
        request = self._coming.pop(request_id)
        room = _room_of(request)
        timer = self._loop.call_later(self._wait_s, self._end, room)
        self._awaited[request_id], self._ids[room] = (request, timer), request_id
        self._callers.say(_server_of(request), Meet(room))

    def told(self, deltas: Sequence[Delta]) -> Sequence[Delta]:
        """As Legs: of the ends it is only noted that nothing is awaited any more."""
        if self._coming or self._awaited:
            for delta in deltas:
                if delta.end is not None:
                    self._forget(delta.request_id)
        return deltas

    def aborted(self, request_id: str) -> bool:
        """As Legs: the engine has it too, and ends it."""
        self._forget(request_id)
        return False

    def close(self) -> list[str]:
        """As Legs."""
        for request_id in [*self._coming, *self._awaited]:
            self._forget(request_id)
        self._callers.close()
        return []

    def _forget(self, request_id: str) -> None:
        request = self._coming.pop(request_id, None) or self._taken(request_id)
        if request is not None:
            self._callers.say(_server_of(request), Leave(_room_of(request)))

    def _taken(self, request_id: str | None) -> Generate | None:
        """Returns the request whose cache was awaited until now."""
        awaited = None if request_id is None else self._awaited.pop(request_id, None)
        if awaited is None:
            return None
        request, timer = awaited
        timer.cancel()
        del self._ids[_room_of(request)]
        return request

    def _on_said(self, message: Said) -> None:
        if isinstance(message, HandedOver):
            request = self._taken(self._ids.get(message.room))
            if request is not None:
                self._begin(request.request_id, message.cached_tokens)
        elif isinstance(message, Dropped):
            self._end(message.room)

    def _end(self, room: int) -> None:
        request = self._taken(self._ids.get(room))
        if request is not None:
            self._callers.say(_server_of(request), Leave(room))
            self._fail(request.request_id, NO_CACHE)


def _server_of(request: Generate) -> BootstrapServer:
    assert request.bootstrap is not None
    return BootstrapServer(request.bootstrap.host, request.bootstrap.port)


def _room_of(request: Generate) -> int:
    assert request.bootstrap is not None
    return request.bootstrap.room
