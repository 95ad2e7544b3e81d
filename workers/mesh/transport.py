"""A worker reaches its frontends over sockets, unless a simulation puts something else there."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import zmq

from kv_events.engine_stream import StreamAddress
from protocol.media_plane import Encodings
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.loop_dealer import LoopDealer, Place, place_of
from protocol.transport.pump import OnFrames, OpenDealer, Pump, SocketPump
from protocol.transport.sockets import Socket, connected_dealer
from workers.encoding.fetching import MediaPlane
from workers.mesh.introduction import Door
from workers.mesh.kv_plane import KvPlane, KvSettings
from workers.mesh.loading import LoadingNotice
from workers.mesh.media_plane import MediaClient, MediaDoor, OnFetch
from workers.mesh.unheard import Unheard
from workers.nixl.memory import NixlUse, open_memory


class Transport(Protocol):
    """A Transport is all that a worker does to the net, so that its life can be lived without
    one.
    """

    def open_dealer(self, address: str) -> OpenDealer:
        """Returns what opens a connection to the frontend at an address.

        Raises:
            StartError: the address cannot be dialled.
        """
        ...

    def loading(
        self, found: Sequence[str], unresolved: Sequence[str], *, worker_id: str, model: str
    ) -> AbstractContextManager[object]:
        """Returns a context that, while entered, tells frontends that a model is loading.

        Raises:
            StartError: on entering; an address cannot be dialled.
        """
        ...

    def kv_plane(
        self, streams: Sequence[StreamAddress], settings: KvSettings, *, frontends: Sequence[str]
    ) -> KvPlane:
        """Opens the relay of an engine's streams, of which there is at least one.

        Raises:
            StartError: the port is taken, or frontends are on other hosts and there is no key.
        """
        ...

    def media_door(
        self,
        on_fetch: OnFetch,
        settings: KvSettings,
        *,
        frontends: Sequence[str],
        on_read: Callable[[], None],
    ) -> Door:
        """Opens where other workers fetch what this one makes of pictures.

        Args:
            on_read: called whenever the door's `being_read` is less.
        Raises:
            StartError: the port is taken, or frontends are on other hosts and there is no key.
        """
        ...

    def media_client(self, on_answer: Callable[[Encodings], None]) -> MediaPlane:
        """Opens what fetches from other workers what they make of pictures."""
        ...

    def note_silent(self, addresses: Collection[str]) -> None:
        """Notes the addresses of which nothing is heard; called every few seconds."""
        ...

    async def close(self) -> None:
        """Closes the transport and returns when what was sent has left; everything that it opened
        is closed already.
        """
        ...


class ZmqTransport:
    """A ZmqTransport is the Transport of a real worker.

    Args:
        key: of the mesh, closed with the transport.
        clock: monotonic seconds.
        nixl: what encodings may be read with NIXL for, where it is installed.
    """

    def __init__(
        self, key: MeshKey | None, clock: Callable[[], float], nixl: NixlUse = "off"
    ) -> None:
        self._key = key
        self._nixl: NixlUse = nixl
        self._clock = clock
        self._context: zmq.Context[Socket] = zmq.Context()
        self._unheard = Unheard(keyed=key is not None)
        self._serving: set[asyncio.Task[None]] = set()
        """Holds what keeps each connection to a frontend up, until what was sent there has left."""

    def open_dealer(self, address: str) -> OpenDealer:
        """Returns what connects a DEALER to the frontend at an address, as Transport says.

        Where there is no key it speaks on the event loop itself.
        """
        if self._key is None:
            return partial(self._dial, place_of(address))
        try:
            return partial(SocketPump, connected_dealer(self._context, address, self._key))
        except zmq.ZMQError as error:
            raise StartError(str(error)) from None

    def loading(
        self, found: Sequence[str], unresolved: Sequence[str], *, worker_id: str, model: str
    ) -> AbstractContextManager[object]:
        """Returns a LoadingNotice, as Transport says."""
        return LoadingNotice(found, unresolved, worker_id=worker_id, model=model, key=self._key)

    def kv_plane(
        self, streams: Sequence[StreamAddress], settings: KvSettings, *, frontends: Sequence[str]
    ) -> KvPlane:
        """Opens a KvPlane on this transport's context, as Transport says."""
        return KvPlane(self._context, streams, settings, frontends=frontends, key=self._key)

    def media_door(
        self,
        on_fetch: OnFetch,
        settings: KvSettings,
        *,
        frontends: Sequence[str],
        on_read: Callable[[], None],
    ) -> Door:
        """Opens a MediaDoor on this transport's context, as Transport says."""
        return MediaDoor(
            self._context,
            on_fetch,
            frontends=frontends,
            host=settings.host,
            port=settings.encodings_port,
            key=self._key,
            memory=open_memory(self._nixl),
            on_read=on_read,
        )

    def media_client(self, on_answer: Callable[[Encodings], None]) -> MediaPlane:
        """Opens a MediaClient on this transport's context, as Transport says."""
        return MediaClient(self._context, on_answer, self._key, open_memory(self._nixl))

    def note_silent(self, addresses: Collection[str]) -> None:
        """Looks into the addresses of which nothing is heard, and says what is wrong there."""
        self._unheard.look(addresses, self._clock())

    async def close(self) -> None:
        """Closes the key and waits until what was sent has left, as Transport says."""
        if self._serving:
            await asyncio.wait(self._serving)
        self._close_key()
        self._context.term()

    def abandon(self) -> None:
        """Closes whatever is still open, at once; to be called if the worker never came to
        serve.
        """
        self._close_key()
        self._context.destroy(linger=0)

    def _dial(self, place: Place, take: OnFrames, on_writable: Callable[[], None]) -> Pump:
        dealer = LoopDealer(place, take, on_writable)
        self._serving.add(dealer.serving)
        dealer.serving.add_done_callback(self._serving.discard)
        return dealer

    def _close_key(self) -> None:
        """Closes the key, whose thread holds a socket of our context while we publish KV events
        under it.
        """
        if self._key is not None:
            self._key.close()
