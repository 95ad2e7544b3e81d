"""One connection of the mesh where there is no key: ZMTP spoken on the event loop itself, without a
thread of ZeroMQ's between the loop and the socket.

The way through that thread is two wake-ups and some sixteen system calls a message
(docs/decisions/0054-zmtp-on-the-loop.md).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Final, cast

import zmq

from protocol.limits import (
    FRAME_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGES_PER_TURN_MAX,
)
from protocol.transport.connection_owner import Owner
from protocol.transport.gathered_writes import GatheredWrites
from protocol.transport.pump import TURN_S_MAX
from protocol.transport.sockets import (
    HANDSHAKE_S_MAX,
    LINGER_S_MAX,
    ROUTER_SILENCE_S_MAX,
)
from protocol.transport.zmtp import (
    GREETING,
    NULL,
    PING,
    VERSION_END,
    Cutter,
    ZmtpViolation,
    answer_to,
    mechanism_in,
    packed,
    ready,
    socket_type_in,
)

TICK_S: Final = 1.0
"""Is how often a connection is asked whether something was heard over it."""

PONG_BYTES_UNSENT_MAX: Final = 64 * 1024
"""Bounds what is unsent to who is given signs of life: who reads none may ask without end."""

UNSENT_BYTES_MAX: Final = 4 * MESSAGE_BYTES_MAX
"""Bounds what waits to be sent over one connection, but for one message: a burst of requests with
pictures. Credits keep well below it; reaching it is an alarm, not flow control.
"""

_FRAMES_MAX: Final = 2 + MESSAGE_BYTES_MAX // FRAME_BYTES_MAX
"""Bounds the frames of a message: its head, and what it is cut into."""

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """A Connection greets, hands messages on and sends them, answers signs of life and asks for
    them.

    Args:
        socket_type, peer_type: what either side is, in ZeroMQ's words.
        frame_bytes_max: of what the peer may send.
        identity: a frame put before those of each message that is handed on, if any.
    Attributes:
        is_open: both sides have said what they are.
    """

    def __init__(
        self,
        owner: Owner,
        *,
        socket_type: bytes,
        peer_type: bytes,
        frame_bytes_max: int,
        identity: bytes = b"",
    ) -> None:
        self.identity = identity
        self.is_open = False
        self._owner = owner
        self._socket_type = socket_type
        self._peer_type = peer_type
        self._loop = asyncio.get_running_loop()
        self._cutter = Cutter(
            self._on_command,
            prefix=[identity] if identity else (),
            frame_bytes_max=frame_bytes_max,
            message_bytes_max=MESSAGE_BYTES_MAX,
            frames_max=_FRAMES_MAX,
        )
        self._cut = self._cut_greeting
        self._greeting = b""
        self._transport: asyncio.Transport | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._failure: int | None = None
        self._spoke = self._full = self._heard = False
        self._ticks = 0
        """Counts the ticks since something was heard, or, before it is open, since it began."""
        self._gathered = GatheredWrites(self._write)
        self._untaken: deque[list[bytes]] = deque()
        """Holds messages for which there was no time in a turn: less than what one read brings."""

    @property
    def is_made(self) -> bool:
        """Tells whether there is a connection to be closed."""
        return self._transport is not None

    def send(self, frames: Sequence[bytes], begin: int = 0) -> bool:
        """Sends a message of the frames from `begin` on; returns False while there is no room."""
        if self._full or not self.is_open:
            return False
        self._gathered.add(packed(frames, begin))
        return True

    def tick(self) -> None:
        """Looks whether the peer is alive; to be called every TICK_S.

        What counts is what was heard between two ticks, and not the time: while this loop stands
        still nothing is read.
        """
        if self._heard and self.is_open:
            self._heard, self._ticks = False, 0
            return
        self._ticks += 1
        if self._ticks >= (ROUTER_SILENCE_S_MAX if self.is_open else HANDSHAKE_S_MAX) / TICK_S:
            self.abort()
        elif self.is_open and self._transport is not None:
            self._transport.write(PING)

    def close(self) -> None:
        """Ends the connection once what was handed over has left and the peer has read it, or after
        the linger time; what comes meanwhile is not taken any more.

        Our half is closed first: a peer that wrote into a closed connection would lose what it has
        not read.
        """
        self._gathered.leave()
        self.is_open = False
        self._untaken.clear()
        if self._transport is None or self._lingering is not None:
            return
        self._lingering = self._loop.call_later(LINGER_S_MAX, self._transport.abort)
        if self._cut != self._cut_greeting:
            self._cut = _nothing
            try:
                self._transport.write_eof()
            except OSError:  # they have left already
                self._transport.abort()
        else:
            self._transport.abort()

    def abort(self) -> None:
        """Ends the connection now."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets, as asyncio says."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(UNSENT_BYTES_MAX)
        self._transport.write(GREETING[:VERSION_END])

    def data_received(self, data: bytes) -> None:
        """Takes what was read, as asyncio says."""
        self._heard = True
        try:
            messages = self._cut(data)
        except ZmtpViolation as violation:
            log.debug("a connection of the mesh is closed: %s", violation)
            if self._failure is None and not self.is_open:
                self._failure = zmq.PROTOCOL_ERROR_ZMTP_UNSPECIFIED
            self.abort()
            return
        if messages:
            if self._untaken:
                self._untaken.extend(messages)
            else:
                self._hand_on(messages)

    def pause_writing(self) -> None:
        """Notes that too much waits to be sent, as asyncio says."""
        self._full = True

    def resume_writing(self) -> None:
        """Notes that there is room again, as asyncio says."""
        self._full = False
        if self.is_open:
            self._owner.has_room(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever it was
        """Tells the owner, as asyncio says."""
        self.is_open = False
        self._transport = None
        if self._lingering is not None:
            self._lingering.cancel()
        # now, since nothing may come behind `lost`: their turn finds none
        self._hand_on(self._all_untaken(), to_the_end=True)
        self._owner.lost(self, self._failure)

    def _write(self, data: bytes) -> None:
        if self.is_open:  # otherwise it was aborted since
            assert self._transport is not None
            self._transport.write(data)

    def _cut_greeting(self, data: bytes) -> list[list[bytes]]:
        """Takes a piece of the greeting; ours goes on behind the version once theirs is there, as
        libzmq does: a peer with a key that read ours as a whole would leave before it has said so.
        """
        had_version = len(self._greeting) >= VERSION_END
        self._greeting += data
        assert self._transport is not None
        if not had_version and len(self._greeting) >= VERSION_END:
            self._transport.write(GREETING[VERSION_END:])
        if len(self._greeting) < len(GREETING):
            if not GREETING.startswith(self._greeting[:1]):
                raise ZmtpViolation("it does not greet")
            return []
        greeting, rest = self._greeting[: len(GREETING)], self._greeting[len(GREETING) :]
        self._greeting = b""
        if mechanism_in(greeting) != NULL:
            self._failure = zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
            raise ZmtpViolation("one side has a key and the other none")
        self._transport.write(ready(self._socket_type))
        self._cut = self._cut_first
        return self._cut_first(rest)

    def _cut_first(self, data: bytes) -> list[list[bytes]]:
        messages = self._cutter.cut(data)
        if messages and not self.is_open:
            raise ZmtpViolation("it speaks before it is ready")
        if messages and not self._spoke:
            self._spoke = True
            self._owner.spoke(self)
            self._cut = self._cutter.cut
        return messages

    def _on_command(self, command: bytes) -> None:
        if self.is_open:
            answer, to = answer_to(command), self._transport
            if answer and to and to.get_write_buffer_size() < PONG_BYTES_UNSENT_MAX:
                to.write(answer)
            return
        if socket_type_in(command) != self._peer_type:
            raise ZmtpViolation("it is no such socket")
        self.is_open, self._ticks = True, 0
        self._owner.opened(self)

    def _hand_on(self, messages: Sequence[list[bytes]], *, to_the_end: bool = False) -> None:
        """Hands messages on for as long as a turn may take; the others wait for the next one."""
        until_s = monotonic() + TURN_S_MAX
        for index, frames in enumerate(messages, 1):
            if self._lingering is not None:
                return
            try:
                self._owner.take(frames)
            except Exception:
                # the messages behind it must still be read
                log.exception("defect while handling a message")
            late = index >= MESSAGES_PER_TURN_MAX or monotonic() > until_s
            if late and index < len(messages) and not to_the_end:
                self._wait_a_turn(messages[index:])
                return

    def _wait_a_turn(self, messages: Sequence[list[bytes]]) -> None:
        self._untaken.extend(messages)
        if self._transport is not None:
            self._transport.pause_reading()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._hand_on(self._all_untaken())
        if not self._untaken and self._transport is not None:
            self._transport.resume_reading()

    def _all_untaken(self) -> list[list[bytes]]:
        messages = list(self._untaken)
        self._untaken.clear()
        return messages


def _nothing(_: bytes) -> list[list[bytes]]:
    return []
