"""Processes that listen on one socket take its connections in turns, whoever has fewest the next.

The kernel wakes whoever waits, and gives a connection to the first that asks: left alone, one idle
process takes nearly all. With a socket each (SO_REUSEPORT) it deals by a hash of the ports, so that
a few long connections often meet in one process, and what waits for one that dies is lost.
"""

import asyncio
import struct
from collections.abc import Callable
from socket import IPPROTO_TCP, socket
from typing import Final

from frontend.processes.standing import ALL_THAT_WAIT, Standing

LOOK_S: Final = 0.001
"""Is the time between two looks at connections that wait for whoever's turn it is: an idle process
wakes in a tenth of it.
"""

PATIENCE_S: Final = 0.02
"""Is how long nobody may take one of them until it is taken here: on a busy host a process waits
some ten milliseconds for a core, and a connection that comes to the wrong one may stay for hours.
"""

UNABLE_S_MAX: Final = 1.0
"""Bounds how long a connection is left to others by a process that has yet to meet workers that
they have.
"""


MODELS_EVERY_S: Final = 0.1
"""Is how often a process notes how many models it can serve, for when they become fewer."""

FULL_PAUSE_S: Final = 0.1
"""Is how long no connection is taken where the process has as many files open as it may."""


_TCP_INFO: Final = 11
"""Of linux/tcp.h; other systems' Pythons have no name for it."""

_BACKLOG: Final = struct.Struct("=24xI")
"""Is where the kernel says of a listening socket how many wait (struct tcp_info, tcpi_unacked)."""


class Accepting:
    """An Accepting takes connections of a socket that other processes listen on too.

    Args:
        number: of this process in `standing`.
        models: tells how many models can be served here.
        patience_s: how long a connection is left to whoever's turn it is, if they take none.
    """

    def __init__(
        self,
        listener: socket,
        standing: Standing,
        number: int,
        models: Callable[[], int],
        *,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._listener = listener
        self._standing = standing
        self._number = number
        self._models = models
        self._patience_s = patience_s
        self._connections = 0
        self._late = 0
        """Bounds the connections that are taken though it is another's turn: doubled with every
        look at which nobody had taken any for too long.
        """
        self._taken_by_others = 0
        self._left_at: float | None = None
        """Says since when nobody takes what waits and was left to others."""
        self._unable_since: float | None = None
        self._resume: asyncio.TimerHandle | None = None
        self._noting: asyncio.TimerHandle | None = None
        """Is set for as long as connections are taken."""
        self._joining: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def begin(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        """Begins to take connections."""
        self._make_protocol = make_protocol
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener.fileno(), self._on_waiting)
        self._note_models_forever()

    def note_models(self) -> None:
        """Notes how many models can be served; to be called as soon as there are more."""
        if self._noting is not None:
            self._standing.take_part(self._number, self._connections, self._models())

    def note_gone(self) -> None:
        """Notes that a connection has ended."""
        self._connections -= 1
        if self._noting is not None:
            self._standing.note_connections(self._number, self._connections)

    def close(self) -> None:
        """Takes no more."""
        if self._resume is not None:
            self._resume.cancel()
        if self._noting is not None:
            self._noting.cancel()
            self._noting = None
        self._loop.remove_reader(self._listener.fileno())
        self._standing.leave(self._number)

    def _note_models_forever(self) -> None:
        self._noting = self._loop.call_later(MODELS_EVERY_S, self._note_models_forever)
        self.note_models()

    def _on_waiting(self) -> None:
        left = self._take(max(self._share(), self._late))
        if left is None:
            self._none_waits()
            return
        # somebody may wait still: the others have the next moment to themselves
        taken_by_others = self._standing.taken_by_others(self._number)
        if self._left_at is None or taken_by_others != self._taken_by_others:
            self._left_at, self._late = self._loop.time(), 0
            self._taken_by_others = taken_by_others
        self._loop.remove_reader(self._listener.fileno())
        self._resume = self._loop.call_later(left, self._look_again)

    def _look_again(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._on_waiting)
        if not waiting_at(self._listener):
            self._none_waits()
            return
        if (
            self._left_at is not None
            and self._standing.taken_by_others(self._number) == self._taken_by_others
            and self._loop.time() - self._left_at > self._patience_s
        ):
            self._late = min(max(1, 2 * self._late), ALL_THAT_WAIT)
        self._on_waiting()

    def _none_waits(self) -> None:
        self._late, self._left_at, self._unable_since = 0, None, None

    def _share(self) -> int:
        share = self._standing.share(self._number, waiting_at(self._listener))
        if share is not None:
            self._unable_since = None
            return share
        now = self._loop.time()
        if self._unable_since is None:
            self._unable_since = now
        if now - self._unable_since <= UNABLE_S_MAX:
            self._late = 0
        return 0

    def _take(self, count: int) -> float | None:
        """Takes up to so many connections; returns None if no further one waits, and otherwise for
        how many seconds not to look.
        """
        for _ in range(min(count, ALL_THAT_WAIT)):
            try:
                connection = self._listener.accept()[0]
            except BlockingIOError:
                return None
            except ConnectionError:  # it is gone again
                continue
            except OSError:  # there is no room for another
                return FULL_PAUSE_S
            self._connections += 1
            self._standing.note_taken(self._number, self._connections)
            task = self._loop.create_task(self._serve(connection))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)
        return LOOK_S if waiting_at(self._listener) else None

    async def _serve(self, connection: socket) -> None:
        try:
            connection.settimeout(0)
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:  # it is gone again
            connection.close()
            self.note_gone()


def waiting_at(listener: socket) -> int:
    """Returns how many connections wait to be taken."""
    (waiting,) = _BACKLOG.unpack(listener.getsockopt(IPPROTO_TCP, _TCP_INFO, _BACKLOG.size))
    return int(waiting)
