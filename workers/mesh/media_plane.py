"""Workers fetch from each other what was made of pictures, over sockets of their own."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, cast
from urllib.parse import urlsplit

import zmq

from protocol.errors import ProtocolViolation
from protocol.limits import FRAME_BYTES_MAX
from protocol.media_plane import (
    Encodings,
    FetchEncodings,
    decode_encodings,
    decode_fetch,
    encode_encodings,
    encode_fetch,
)
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket, asking_dealer, bound_router, is_local
from workers.mesh.own_host import bind_near, own_host_towards

log = logging.getLogger(__name__)

ENCODERS_MAX: Final = 64
"""Bounds the workers that one fetches from at a time: more encoders than one language model needs;
the one asked longest ago is forgotten.
"""

_IDENTITY_FRAMES: Final = 1

OnFetch = Callable[[FetchEncodings, Callable[[Encodings], None]], None]
"""Takes a question, and what sends the answers to it."""


class MediaDoor:
    """A MediaDoor is where other workers fetch what this one makes of pictures.

    Args:
        frontends: the addresses that the worker dials. If all are on this host, so are the workers
        that fetch.
        host: under which other hosts find this one; found out if not given.
        port: 0 for any.
    Raises:
        StartError: the port is taken, or frontends are on other hosts and there is no key.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        on_fetch: OnFetch,
        *,
        frontends: Sequence[str],
        host: str | None,
        port: int,
        key: MeshKey | None,
    ) -> None:
        self._on_fetch = on_fetch
        self._host = host
        self._distant = next((each for each in frontends if not is_local(each)), None)
        bind = bind_near(frontends, port, "encodings")
        try:
            router = bound_router(context, bind, key)
        except zmq.ZMQError as error:
            raise StartError(f"cannot hand encodings out on {bind}: {error}") from None
        endpoint = router.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        self._endpoint = endpoint.rstrip(b"\0").decode()
        self._router = SocketPump(router, self._on_question, copies=False)

    def address(self) -> str:
        """Returns where workers find it, those of this host and of others alike.

        Raises:
            OSError: there is no way to other hosts at the moment, and no host was given.
        """
        if self._endpoint.startswith("ipc://") or self._distant is None:
            return self._endpoint
        host = self._host or own_host_towards(self._distant)
        return f"tcp://{host}:{urlsplit(self._endpoint).port}"

    def close(self) -> None:
        """Closes the socket; nobody waits for what it holds."""
        self._router.close()

    def _on_question(self, frames: list[bytes]) -> None:
        try:
            fetch = decode_fetch(frames[_IDENTITY_FRAMES:])
        except ProtocolViolation as violation:
            log.warning("dropped a malformed question: %s", violation.message[:200])
            return
        self._on_fetch(fetch, partial(self._send, frames[:_IDENTITY_FRAMES]))

    def _send(self, to: list[bytes], answer: Encodings) -> None:
        self._router.send([*to, *encode_encodings(answer)])  # who lost it asks again


class MediaClient:
    """A MediaClient asks workers that encode, at whatever addresses frontends name.

    Args:
        on_answer: takes what they answer.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        on_answer: Callable[[Encodings], None],
        key: MeshKey | None,
    ) -> None:
        self._context = context
        self._on_answer = on_answer
        self._key = key
        self._pumps: OrderedDict[str, SocketPump] = OrderedDict()

    def ask(self, address: str, fetch: FetchEncodings) -> None:
        """Asks the worker at an address; what cannot be sent is lost."""
        pump = self._pumps.get(address)
        if pump is None:
            try:
                socket = asking_dealer(self._context, address, self._key)
            except (StartError, zmq.ZMQError) as error:
                log.warning("cannot fetch encodings at %s: %s", address, error)
                return
            receive = partial(_received, socket)
            pump = self._pumps[address] = SocketPump(socket, self._take, receive=receive)
            if len(self._pumps) > ENCODERS_MAX:
                self._pumps.popitem(last=False)[1].close()
        self._pumps.move_to_end(address)
        pump.send(encode_fetch(fetch))

    def close(self) -> None:
        """Closes all connections."""
        for pump in self._pumps.values():
            pump.close()
        self._pumps.clear()

    def _take(self, frames: list[bytes]) -> None:
        try:
            self._on_answer(decode_encodings(frames))
        except ProtocolViolation as violation:
            log.warning("dropped malformed encodings: %s", violation.message[:200])


def _received(socket: Socket, flags: int) -> list[bytes]:
    """Returns the next message; its large frames as views of what ZMQ received, since copying one
    takes longer than all else that is done with it.
    """
    frames = socket.recv_multipart(flags, copy=False)
    return [
        each.bytes if len(each) < FRAME_BYTES_MAX else cast("bytes", each.buffer) for each in frames
    ]
