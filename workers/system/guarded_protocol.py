"""HTTP for probes takes one request a connection, within a time, so that whoever only holds
connections takes no place from a probe.
"""

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX: Final = 64
"""At most this many connections are open at once: a few probes and scrapers.

A newcomer takes the place of the oldest that has yet to ask something.
"""

REQUEST_S_MAX: Final = 10.0
"""A request may take this many seconds from a connection's start to its end, and again for its
answer to be taken: within a host or a cluster.
"""


class SystemProtocol(H11Protocol):
    """A SystemProtocol is uvicorn's protocol on h11 with bounds on connections and their time.

    What is asked of a worker (controls.py) may take its time.
    """

    accepted_at: float = 0.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self.accepted_at = self.loop.time()
        self._late = self.loop.call_later(REQUEST_S_MAX, self._judge)
        # What was aborted in this turn of the loop is still among the connections.
        here = [
            each
            for each in cast("set[SystemProtocol]", self.connections)
            if not each.transport.is_closing()
        ]
        if len(here) > CONNECTIONS_MAX:
            idle = [each for each in here if not each.works]  # ourselves at least
            min(idle, key=lambda each: each.accepted_at).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    @property
    def works(self) -> bool:
        """Tells whether a whole request is here and its answer is being made."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_started  # pyright: ignore[reportUnnecessaryComparison]

    def _judge(self) -> None:
        if self.works:
            self._late = self.loop.call_later(REQUEST_S_MAX, self._judge)
        else:
            self.transport.abort()
