"""Says that somebody cannot join the mesh for want of the key, who would otherwise try for ever and nobody know why it does not come."""

import asyncio
import logging
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from protocol.sockets import Socket, SocketPump

log = logging.getLogger(__name__)

SAID_EVERY_S: Final = 60.0
"""A worker tries every two seconds, a scanner more often."""

_EVENTS: Final = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
_REASONS: Final[dict[int, str]] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "one side has a mesh key and the other none",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "it has another mesh key",
}


class Strangers:
    """Watches the failed handshakes of a ROUTER.

    Args:
        router: bound, not yet read by anybody, and with no other monitor.
    """

    def __init__(self, router: Socket) -> None:
        self._router = router
        self._loop = asyncio.get_running_loop()
        self._said_at = -SAID_EVERY_S
        self._unsaid = 0
        self._pump = SocketPump(router.get_monitor_socket(_EVENTS), self._on_event)

    def close(self) -> None:
        """Watch no more. To be called before the ROUTER is closed."""
        self._router.disable_monitor()
        self._pump.close()

    def note_failure(self, reason: int) -> None:
        """A handshake failed; `reason` is the value of ZMQ's event."""
        self._unsaid += 1
        if self._loop.time() - self._said_at < SAID_EVERY_S:
            return
        why = _REASONS.get(reason, "it does not speak as a worker does")
        log.warning("somebody tried to join the mesh and could not (%d times since this was last said): %s", self._unsaid, why)
        self._said_at, self._unsaid = self._loop.time(), 0

    def _on_event(self, frames: list[bytes]) -> None:
        self.note_failure(int(parse_monitor_message(frames)["value"]))
