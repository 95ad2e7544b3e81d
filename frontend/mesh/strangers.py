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
        router: bound, not yet read by anybody.
    """

    def __init__(self, router: Socket) -> None:
        self._router = router
        self._loop = asyncio.get_running_loop()
        self._said_at = -SAID_EVERY_S
        self._unsaid = 0
        self._pump = SocketPump(router.get_monitor_socket(_EVENTS), self._on_failure)

    def close(self) -> None:
        """Watch no more. To be called before the ROUTER is closed."""
        self._router.disable_monitor()
        self._pump.close()

    def _on_failure(self, frames: list[bytes]) -> None:
        self._unsaid += 1
        if self._loop.time() - self._said_at < SAID_EVERY_S:
            return
        reason = _REASONS.get(int(parse_monitor_message(frames)["value"]), "it does not speak as a worker does")
        log.warning("somebody tried to join the mesh and could not (%d times since this was last said): %s", self._unsaid, reason)
        self._said_at, self._unsaid = self._loop.time(), 0
