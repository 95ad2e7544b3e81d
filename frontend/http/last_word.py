"""Says why a connection is closed to who sent no request that a handler could see."""

import asyncio
from typing import Final

from frontend.http.refused import refused

LINGER_BYTES_MAX: Final = 1024 * 1024
LINGER_S_MAX: Final = 1.0
"""Bounds, as LINGER_BYTES_MAX does, what is read and dropped before a connection closes: closing
while bytes are unread makes the kernel send RST, which throws away the answer.
"""


class LastWord:
    """A LastWord is an answer behind which a connection closes, once the client has it; from its
    making on nothing more is read.
    """

    def __init__(self, transport: asyncio.Transport, status: int, message: str, code: str) -> None:
        self._transport = transport
        self._answer = refused(status, message, code)
        self._bytes_left = LINGER_BYTES_MAX
        self._timer: asyncio.TimerHandle | None = None

    def say(self) -> None:
        """Answers, since all requests before are answered."""
        self._transport.write(self._answer)
        if not self._transport.can_write_eof():  # TLS
            self._transport.close()
            return
        self._transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S_MAX, self._transport.close)

    def drop(self, byte_count: int) -> None:
        """Notes that so many bytes came and were not read."""
        self._bytes_left -= byte_count
        if self._bytes_left <= 0:
            self._transport.close()

    def end(self) -> None:
        """Waits no longer, since the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
