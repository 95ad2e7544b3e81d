"""The frontends are told that an engine is starting.

The engine blocks the main thread while it loads, so this runs in a thread of its own with its own
sockets, and ends before the worker says Hello.
"""

import threading
import time
from collections.abc import Sequence
from types import TracebackType

import zmq

from protocol.codec import encode
from protocol.membership import Loading
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.sockets import Socket, connected_dealer
from workers.mesh.unheard import Unheard

_INTERVAL_S = 1.0


class LoadingNotice:
    """A LoadingNotice, while entered, sends Loading to each address once a second, and says which
    of them, and of those unresolved, are not there.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        unresolved: Sequence[str] = (),
        *,
        worker_id: str,
        model: str,
        key: MeshKey | None,
    ) -> None:
        self._addresses = addresses
        self._unresolved = unresolved
        self._worker_id = worker_id
        self._model = model
        self._key = key
        self._context: zmq.Context[Socket] = zmq.Context()
        self._sockets: list[Socket] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loading-notice", daemon=True)

    def __enter__(self) -> "LoadingNotice":
        """Opens the sockets and begins to send.

        Raises:
            StartError: an address cannot be dialled, or leaves this host and there is no key.
        """
        for address in self._addresses:
            try:
                self._sockets.append(connected_dealer(self._context, address, self._key))
            except zmq.ZMQError as error:
                self._context.destroy(linger=0)
                raise StartError(f"cannot connect to {address}: {error}") from None
            except StartError:
                self._context.destroy(linger=0)
                raise
        # hands the sockets over: from here on only the thread touches them (zguide,
        # "Multithreading")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _run(self) -> None:
        started_at = time.monotonic()
        unheard = Unheard(keyed=self._key is not None)
        while not self._done.wait(_INTERVAL_S):
            notice = encode(
                Loading(self._worker_id, self._model, "loading", time.monotonic() - started_at)
            )
            silent = list(self._unresolved)
            for address, socket in zip(self._addresses, self._sockets, strict=True):
                try:
                    socket.send_multipart(notice, zmq.DONTWAIT)
                except zmq.Again:
                    silent.append(address)  # that frontend is not up yet
            unheard.look(silent, time.monotonic())
