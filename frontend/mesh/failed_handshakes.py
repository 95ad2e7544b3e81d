"""Logs that somebody cannot join the mesh for want of the key, who would otherwise try for ever and
nobody know why it does not come.
"""

import logging
from collections.abc import Callable
from typing import Final

import zmq

from protocol.process.log_floods import Complaint

log = logging.getLogger(__name__)

_REASONS: Final[dict[int, str]] = {
    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "one side has a mesh key and the other none",
    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "it has another mesh key",
}


class FailedHandshakes:
    """FailedHandshakes counts failed handshakes and says so in the log, now and then.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._complaint = Complaint(clock)

    def note(self, reason: int) -> None:
        """Notes that a handshake failed; `reason` is the value of ZMQ's event."""
        times = self._complaint.due()
        if times:
            why = _REASONS.get(reason, "it does not speak as a worker does")
            log.warning(
                (
                    "somebody tried to join the mesh and could not (%d times since this was last "
                    "said): %s"
                ),
                times,
                why,
            )
