"""The system server speaks HTTP in a thread with a loop of its own, so that it answers while the
engine loads and when the worker hangs.
"""

import asyncio
import logging
import socket
import threading
from typing import Final

import uvicorn

from protocol.process.log_floods import quieten_http_server
from protocol.process.start_error import StartError
from workers.system.guarded_protocol import SystemProtocol
from workers.system.pages import SystemPages

log = logging.getLogger(__name__)

_STOP_S_MAX: Final = 2.0
"""The server's end is waited for this many seconds: uvicorn looks ten times a second whether it
should stop; a client that hangs on is not waited for.
"""


class SystemServer:
    """A SystemServer serves `pages` from `start` to `stop`."""

    def __init__(self, pages: SystemPages, *, host: str, port: int) -> None:
        """Takes the port, so that one that is taken is known before an engine loads.

        Args:
            port: 0 for any free one.
        Raises:
            StartError: it cannot be had.
        """
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise StartError(
                f"--system-port {port}: cannot listen on {host}: {error.strerror or error}"
            ) from None
        config = uvicorn.Config(
            pages,
            loop="asyncio",
            http=SystemProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="system-server", daemon=True)

    @property
    def port(self) -> int:
        """Returns the port on which the pages are served."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begins to answer requests in a thread of its own."""
        host, port = self._socket.getsockname()[:2]
        log.info("system server on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        quieten_http_server()
        self._thread.start()

    def stop(self) -> None:
        """Stops answering and gives the port back. Blocks for a fraction of a second."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_S_MAX)
        self._socket.close()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._server.serve(sockets=[self._socket]))
