"""A TCP proxy that can stop forwarding without closing anything: a half-open connection, or a
partition that heals.
"""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

READ_BYTES = 65_536
"""Taken at once; while forwarding is stopped no more than this waits here per direction, the rest
in the kernel.
"""


class TcpProxy:
    """Forwards connections to a port of this host, in a thread of its own. A context manager.

    Args:
        target: of the frontend's mesh address, tcp://127.0.0.1:PORT.
    """

    def __init__(self, target: str) -> None:
        self._target_port = urlsplit(target).port
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._listening = threading.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self.address = ""
        """What the worker dials."""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listening.wait(60), "the proxy does not listen"
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, and accept none any more. Nothing of the proxy is left then."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join()

    def stop_forwarding(self) -> None:
        """From here on bytes are neither forwarded nor refused, in both directions."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def forward_again(self) -> None:
        """What waited, and all that follows, goes on."""
        self._loop.call_soon_threadsafe(self._open.set)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open, self._closing = asyncio.Event(), asyncio.Event()
        self._open.set()
        # asyncio's own server loses a connection that it accepted just before it is closed
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            self.address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
            self._loop.add_reader(listener, self._accept, listener)
            self._listening.set()
            await self._closing.wait()
            self._loop.remove_reader(listener)
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        try:
            here, _ = listener.accept()
        except OSError:  # it is gone again
            return
        here.settimeout(0)
        connection = self._loop.create_task(self._connect(here))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)
        # one that was cancelled before it began has closed nothing
        connection.add_done_callback(lambda _: here.close())

    async def _connect(self, here: socket.socket) -> None:
        """One connection, until both directions ended or the proxy is closed."""
        writers: list[asyncio.StreamWriter] = []
        try:
            reader, writer = await asyncio.open_connection(sock=here)
            writers.append(writer)
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(there)
            await asyncio.gather(self._forward(reader, there), self._forward(there_reader, writer))
        except OSError:
            pass  # nobody listens there
        finally:
            for each in writers:
                each.transport.abort()  # `close` would wait for who reads no more
            for each in writers:
                with suppress(OSError):
                    await each.wait_closed()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(READ_BYTES):
                await self._open.wait()
                sink.write(piece)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()
