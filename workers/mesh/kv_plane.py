"""A worker's part in the KV plane is the relay next to its engine, and the address under which each
frontend finds it.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import zmq

from kv_events.engine_stream import StreamAddress
from kv_events.relay import KvRelay
from protocol.membership import KvSource, RankLoad, RelayCounts
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.sockets import Socket, is_local
from workers.mesh.own_host import bind_near, own_host_towards


@dataclass(frozen=True, kw_only=True)
class KvSettings:
    """KvSettings say how a worker tells of its cache, and where others find what it made of
    pictures (the settings kv_block_size, kv_host, kv_port and encodings_port).
    """

    block_size_tokens: int
    host: str | None
    port: int
    encodings_port: int = 0

    def of_whole_pages(self, page_size_tokens: int) -> "KvSettings":
        """Returns the same settings with blocks of whole pages, so that one page never belongs to
        two.
        """
        pages = -(-self.block_size_tokens // page_size_tokens)
        return replace(self, block_size_tokens=pages * page_size_tokens)


class KvPlane:
    """A KvPlane relays the KV events of this process's ranks.

    Args:
        streams: where the engine publishes, one a local rank; at least one.
        settings: the host is what frontends on other hosts are told, found out per frontend if not
        given; the port is that of the events, snapshots on the next one, 0 for any.
        frontends: the addresses that the worker dials. If all are on this host, so are our sockets;
        if all are paths, so are ours.
    Raises:
        StartError: the port is taken, or frontends are on other hosts and there is no key.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        streams: Sequence[StreamAddress],
        settings: KvSettings,
        *,
        frontends: Sequence[str],
        key: MeshKey | None,
    ) -> None:
        self._host = settings.host
        bind = bind_near(frontends, settings.port, "kv")
        try:
            self._relay = KvRelay(
                context,
                streams,
                block_size_tokens=settings.block_size_tokens,
                bind=bind,
                key=key,
                stream_id=secrets.randbits(63),
            )
        except zmq.ZMQError as error:
            raise StartError(f"cannot publish KV events on {bind}: {error}") from None

    def source_for(self, frontend: str) -> KvSource:
        """Returns what the Hello to one frontend says of where it finds the events.

        Raises:
            OSError: there is no way to the frontend at the moment, and no host was given.
        """
        own_host = None if is_local(frontend) else self._host
        return self._relay.source_at(own_host or own_host_towards(frontend))

    def numbered(self, loads: Sequence[RankLoad]) -> list[RankLoad]:
        """Returns the loads with the latest number of each rank's stream."""
        return [self._relay.numbered(load) for load in loads]

    def numbers(self) -> list[RankLoad]:
        """Returns the latest number of each of our ranks, without loads."""
        return self._relay.numbers()

    def counts(self) -> RelayCounts:
        """Returns counts of what befell the events so far."""
        return self._relay.counts()

    def close(self) -> None:
        """Closes every socket of the relay."""
        self._relay.close()
