"""Cuts off clients that do not read what they asked for."""

import asyncio
from collections.abc import Callable
from typing import Final

SLOW_READER_S_MAX: Final = 10.0
"""Bounds how long a client whose buffer is full may take nothing; it is cut off within twice that.

Its handler waits meanwhile, so what we hold for it is 64 KiB here and as much in the kernel
(frontend/http/listener.py). The kernel asks for more only after 32 KiB have left it, so whoever
reads faster than 3 KB/s is safe; ten seconds let a phone change its network.
"""


class SlowReader:
    """A SlowReader watches a client from the moment its buffer is full until there is room again,
    and closes its connection if nothing leaves in the meantime.

    Args:
        on_cut: called before the connection is closed.
    """

    def __init__(self, transport: asyncio.Transport, on_cut: Callable[[], None]) -> None:
        self._transport = transport
        self._on_cut = on_cut
        self._watch()

    def end(self) -> None:
        """Watches no more."""
        self._timer.cancel()

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(
            SLOW_READER_S_MAX, self._judge, self._transport.get_write_buffer_size()
        )

    def _judge(self, unsent_bytes: int) -> None:
        if self._transport.get_write_buffer_size() < unsent_bytes:
            self._watch()
            return
        self._on_cut()
        self._transport.abort()
