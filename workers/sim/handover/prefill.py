"""A simulated engine computes prompts for other engines, and hands their caches over."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from protocol.disaggregation import BootstrapServer
from protocol.generation import Finished, Generate
from protocol.replies import Delta
from workers.engine import FAKE_BOOTSTRAP_HOST
from workers.sim.faults import Faults
from workers.sim.handover.messages import (
    NO_CACHE,
    WAIT_S_MAX,
    Dropped,
    HandedOver,
    Leave,
    Meet,
    Said,
)
from workers.sim.handover.ways import Listener, Meetings
from workers.sim.settings import SimSettings

ROOMS_MAX: Final = 65_536
"""Peers may have said Meet for this many legs that have not come, and may never come: the first are
forgotten. More than all frontends together have under way.
"""

KV_BYTES_PER_TOKEN: Final = 131_072
"""A token's cache in bfloat16 on a model of 8 billion parameters (Llama-3.1-8B)."""


def transfer_s(settings: SimSettings, tokens: int) -> float:
    """Returns how long the cache of so many tokens travels, in seconds."""
    if not settings.sim_speedup:
        return 0.0
    return tokens * KV_BYTES_PER_TOKEN / (settings.sim_transfer_gb_s * 1e9) / settings.sim_speedup


class PrefillLegs:
    """PrefillLegs keeps prompts until they are met, and computed ones while their cache is sent.

    Args:
        run: has the engine run a prompt.
        abort: has it stop one.
        deliver: takes the ends of legs.
        send_s: seconds that so many tokens' cache takes.
        wait_s: seconds that a prompt waits to be met.
    """

    def __init__(
        self,
        meetings: Meetings,
        faults: Faults,
        *,
        run: Callable[[Generate], None],
        abort: Callable[[str], None],
        deliver: Callable[[Delta], None],
        send_s: Callable[[int], float],
        wait_s: float = WAIT_S_MAX,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.meetings = meetings
        self._faults = faults
        self._run = run
        self._abort = abort
        self._deliver = deliver
        self._send_s = send_s
        self._wait_s = wait_s
        self._met: dict[int, bytes] = {}
        """Room → the peer that waits there."""
        self._waiting: dict[str, tuple[Generate, asyncio.TimerHandle]] = {}
        """Request → the leg that was not met yet; bounded by the credit of frontends."""
        self._rooms: dict[str, int] = {}
        """Request → its room, from its coming to its end."""
        self._ids: dict[int, str] = {}
        """Room → its request: `_rooms` the other way round."""
        self._sending: dict[str, tuple[Delta, asyncio.TimerHandle | None]] = {}
        """Request → its end, and what tells it; None where nothing does (fault)."""
        self._listener = Listener(meetings, self._on_said)
        self.server: BootstrapServer | None = self._listener.server

    def take(self, request: Generate) -> bool:
        """As Legs."""
        bootstrap = request.bootstrap
        if bootstrap is None or bootstrap.host == FAKE_BOOTSTRAP_HOST:
            return False
        request_id = request.request_id
        self._rooms[request_id] = bootstrap.room
        self._ids[bootstrap.room] = request_id
        if bootstrap.room in self._met:
            return False
        timer = self._loop.call_later(self._wait_s, self._fail, request_id)
        self._waiting[request_id] = request, timer
        return True

    def expects(self, request_id: str) -> bool:  # noqa: ARG002 - this is where prompts are computed
        """As Legs."""
        return False

    def told(self, deltas: Sequence[Delta]) -> Sequence[Delta]:
        """As Legs: the end of a computed prompt waits until its cache is sent."""
        if not self._rooms:
            return deltas
        return [delta for delta in deltas if not self._held(delta)]

    def aborted(self, request_id: str) -> bool:
        """As Legs."""
        waiting, sending = (
            self._waiting.pop(request_id, None),
            self._sending.pop(request_id, None),
        )
        timer = waiting[1] if waiting else sending[1] if sending else None
        if timer is not None:
            timer.cancel()
        if request_id in self._rooms:  # also while it is computed: a step under way may yet end it
            self._leave(request_id)
        return bool(waiting or sending)

    def close(self) -> list[str]:
        """As Legs."""
        kept = [*self._waiting, *self._sending]
        for request_id in kept:
            self.aborted(request_id)
        self._listener.close()
        return kept

    def _held(self, delta: Delta) -> bool:
        room = self._rooms.get(delta.request_id)
        if room is None or delta.end is None:
            return False
        end = delta.end
        if not isinstance(end, Finished) or end.reason == "abort":
            self._leave(delta.request_id)
            return False
        fate = self._faults.on_handover()
        if fate == "transfer-error-every":
            self._loop.call_soon(self._fail, delta.request_id)
            self._sending[delta.request_id] = delta, None
        else:
            timer = None
            if fate is None:
                seconds = self._send_s(end.prompt_tokens)
                timer = self._loop.call_later(seconds, self._sent, delta.request_id)
            self._sending[delta.request_id] = delta, timer
        return True

    def _sent(self, request_id: str) -> None:
        delta, _ = self._sending.pop(request_id)
        assert isinstance(delta.end, Finished)
        room = self._rooms.pop(request_id)
        del self._ids[room]
        self._listener.say(self._met.pop(room), HandedOver(room, delta.end.cached_tokens))
        self._deliver(delta)

    def _fail(self, request_id: str) -> None:
        if self.aborted(request_id):
            self._deliver(Delta(request_id, 0, b"", NO_CACHE))

    def _leave(self, request_id: str) -> None:
        """Ends a leg that has not handed anything over."""
        room = self._rooms.pop(request_id)
        del self._ids[room]
        peer = self._met.pop(room, None)
        if peer is not None:
            self._listener.say(peer, Dropped(room))

    def _on_said(self, peer: bytes, message: Said) -> None:
        if isinstance(message, Meet):
            self._met[message.room] = peer
            if len(self._met) > ROOMS_MAX:
                del self._met[next(iter(self._met))]
            waiting = self._waiting.pop(self._ids.get(message.room, ""), None)
            if waiting is not None:
                request, timer = waiting
                timer.cancel()
                self._run(request)
        elif isinstance(message, Leave):
            self._met.pop(message.room, None)
            if message.room in self._ids:
                self._abort(self._ids[message.room])
