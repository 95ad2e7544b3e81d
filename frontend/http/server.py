"""Runs uvicorn's server, told by a Drain when to stop, and stopping without its fixed waits."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from socket import socket
from typing import Any, Final, Protocol, cast

import uvicorn

from frontend.drain import Drain, Stage
from frontend.http.connections import Connections
from frontend.http.guarded_protocol import GuardedHttpToolsProtocol
from frontend.http.waiting_connections import WaitingConnections

FLUSH_S_MIN: Final = 1.0
"""Is the least time for answers that are complete but not sent yet, even if the time for open
requests is over.
"""


class Accepting(Protocol):
    """An Accepting takes connections by rules of its own."""

    def begin(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        """Begins to take connections."""
        ...

    def close(self) -> None:
        """Takes no more."""
        ...


class Server(uvicorn.Server):
    """A Server keeps its listener open while it drains, so that a refused client is told why
    instead of being let down by the kernel.

    Args:
        accepting: takes the connections; the loop does where nothing is given.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain[Any],
        connections: Connections,
        accepting: "Accepting | None" = None,
    ) -> None:
        super().__init__(config)
        self.server_state: Connections = connections
        self._drain = drain
        self._accepting = accepting
        drain.on_stage = self._on_stage
        self._flushed = asyncio.Event()
        """Is set once everything is sent, or somebody is in a hurry."""
        connections.on_empty = self._flushed.set

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leaves signals to the Drain."""
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Begin to listen on the sockets."""
        make_protocol = partial(
            GuardedHttpToolsProtocol, self.config, self.server_state, self.lifespan.state
        )
        if self._accepting is not None:
            await super().startup([])
            self._accepting.begin(make_protocol)
            return
        await super().startup(sockets)
        waiting = WaitingConnections(sockets or [], make_protocol)
        self.server_state.on_connection = waiting.take

    async def main_loop(self) -> None:
        """Serves until the drain is over."""
        ticking = asyncio.create_task(super().main_loop())  # keeps the Date header right
        try:
            await self._drain.until_over()
        finally:
            ticking.cancel()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stops listening, closes what is idle and gives the rest the time to send what it has to
        say.
        """
        if self._accepting is not None:
            self._accepting.close()
        for listener in [*self.servers, *(sockets or [])]:
            listener.close()
        for connection in self._connections():
            connection.shutdown()
        flush_until = max(asyncio.get_running_loop().time() + FLUSH_S_MIN, self._drain.until or 0.0)
        self._flushed.clear()
        if self.server_state.connections:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(flush_until):
                    await self._flushed.wait()
        for connection in self._connections():
            connection.transport.abort()

    def _on_stage(self, stage: Stage) -> None:
        self.server_state.closing = True
        if stage is Stage.REFUSING:
            for connection in self._connections():
                connection.close_when_idle()
        elif stage is Stage.CUTTING:
            self._flushed.set()

    def _connections(self) -> list[GuardedHttpToolsProtocol]:
        return cast("list[GuardedHttpToolsProtocol]", list(self.server_state.connections))
