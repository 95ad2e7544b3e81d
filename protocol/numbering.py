"""Numbers the messages of one connection, so that neither side acts on a lost, repeated or late
one.

ZMQ loses messages only where a queue is full or a connection breaks, and says nothing then. A
worker's Hello begins a session of its connection; from then on each side numbers what it sends from
1, without holes. Both send heartbeats, so a lost message shows within one of them, and then the
session is over: the worker introduces itself anew and what ran is moved. Messages of a session that
is over, such as the tokens of a worker that woke up, are known as such and dropped.

Source: sequence numbers and epochs as in TCP and in Raft's terms; there is no retransmission, since
a session that lost something is cheap to replace.
"""

import struct
from enum import Enum
from typing import Final

from protocol.errors import ProtocolViolation
from protocol.limits import WIRE_VERSION

UNNUMBERED: Final = 0
"""Is the session of messages outside of any: HelloWanted, Loading, and all that nodes say who only
relay KV events.
"""

_HEAD: Final = struct.Struct("<cIQ")
"""Packs a head of 13 bytes: version, session, number. A connection that begins a session a second
has 136 years of them.
"""


class Arrival(Enum):
    """An Arrival says whether a message is the next of its connection, a stale one, or one behind a
    gap.
    """

    NEXT = "next"
    STALE = "stale"  # repeated, or of a session that is over
    GAP = "gap"  # messages before it are lost


class Numbering:
    """A Numbering counts the messages of one connection, both ways, during one session.

    Synchronous and small: a worker holds one per frontend and back.
    """

    __slots__ = ("_received", "_sent", "session")

    def __init__(self, session: int = UNNUMBERED, *, received: int = 0, sent: int = 0) -> None:
        self.session = session
        self._received = received
        self._sent = sent

    def head(self) -> bytes:
        """Returns the first frame of the message that is sent next."""
        return (
            _HEAD.pack(WIRE_VERSION, self.session, self._sent + 1) if self.session else WIRE_VERSION
        )

    def note_sent(self) -> None:
        """Counts a message as sent; one that finds no room is not told, so it uses up no number."""
        self._sent += 1

    def arrived(self, session: int, number: int) -> Arrival:
        """Judges a received message by its numbers and, if it is the next one, counts it."""
        if session == UNNUMBERED:
            return Arrival.NEXT
        if session < self.session or (session == self.session and number <= self._received):
            return Arrival.STALE
        if session > self.session or number > self._received + 1:
            return Arrival.GAP
        self._received = number
        return Arrival.NEXT


def numbers_of(head: bytes) -> tuple[int, int]:
    """Returns the session and the number in a message's first frame, (UNNUMBERED, 0) for a bare
    version.

    Raises:
        ProtocolViolation: it is neither a bare version nor a whole head.
    """
    if len(head) == 1:
        return UNNUMBERED, 0
    if len(head) != _HEAD.size:
        raise ProtocolViolation(f"a head has 1 or {_HEAD.size} bytes, got {len(head)}")
    _, session, number = _HEAD.unpack(head)
    return session, number
