"""A TCP proxy that can stop forwarding without closing anything: a half-open connection, or a
partition that heals.
"""

import asyncio
import threading
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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._listening = threading.Event()
        self._open = asyncio.Event()
        self._pipes: set[asyncio.Task[None]] = set()
        self.address = ""
        """What the worker dials."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait(10)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, and accept none any more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def stop_forwarding(self) -> None:
        """From here on bytes are neither forwarded nor refused, in both directions."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def forward_again(self) -> None:
        """What waited, and all that follows, goes on."""
        self._loop.call_soon_threadsafe(self._open.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open.set()
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._listening.set()
        self._loop.run_forever()
        server.close()
        for pipe in self._pipes:
            pipe.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._pipes, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # for transports to close
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(
                "127.0.0.1", self._target_port
            )
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            pipe = self._loop.create_task(self._forward(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

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
