"""Messages of one turn of the loop leave in few writes, which take as long for one message as for
ten.
"""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

WRITTEN_BYTES: Final = 64 * 1024
"""Counts the bytes of messages that are worth a write of their own, before the turn has ended."""

WAIT_S_MAX: Final = 0.002
"""Bounds how long a message waits for others of its turn, which takes many milliseconds where many
requests came at once: meanwhile the peer may have nothing to do. A write takes a hundredth of it.
"""


class GatheredWrites:
    """A GatheredWrites writes messages at the end of the turn in which they were added, or before.

    Args:
        write: writes what was gathered.
        now_s: of a clock that does not go back.
    """

    def __init__(
        self, write: Callable[[bytes], None], *, now_s: Callable[[], float] = monotonic
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._write = write
        self._now_s = now_s
        self._messages: list[bytes] = []
        """Holds up to WRITTEN_BYTES and one message, for no longer than WAIT_S_MAX and the making
        of one message.
        """
        self._bytes = 0
        self._since_s = 0.0

    def add(self, message: bytes) -> None:
        """Has a message written in this turn."""
        now_s = self._now_s()
        if not self._messages:
            self._since_s = now_s
            self._loop.call_soon(self.leave)
        self._messages.append(message)
        self._bytes += len(message)
        if self._bytes > WRITTEN_BYTES or now_s - self._since_s > WAIT_S_MAX:
            self.leave()

    def leave(self) -> None:
        """Writes what was added and not written."""
        messages, self._messages, self._bytes = self._messages, [], 0
        if messages:
            self._write(messages[0] if len(messages) == 1 else b"".join(messages))
