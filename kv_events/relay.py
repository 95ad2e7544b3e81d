"""Relays the engine's KV events to the mesh, with one EngineStream and one RankStream a rank, in
the process that embeds the engine.
"""

from collections.abc import Sequence

import zmq
from msgspec.structs import replace

from kv_events.engine_stream import EngineStream, StreamAddress, StreamCounts
from kv_events.publisher import KvPublisher
from protocol.membership import KvSource, RankLoad, RelayCounts
from protocol.transport.curve import MeshKey
from protocol.transport.sockets import Socket


class KvRelay:
    """A KvRelay follows the KV events of local ranks and publishes them; it runs on the event loop
    it was made on.

    Args:
        addresses: the local ranks' streams, in rank order without holes.
    Raises:
        StartError: an address leaves this host and there is no key.
        zmq.ZMQError: an address is taken.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        addresses: Sequence[StreamAddress],
        *,
        block_size_tokens: int,
        bind: str,
        key: MeshKey | None,
        stream_id: int,
    ) -> None:
        ranks = [address.dp_rank for address in addresses]
        self._counts = StreamCounts()
        self._publisher = KvPublisher(
            context,
            ranks,
            block_size_tokens=block_size_tokens,
            bind=bind,
            key=key,
            stream_id=stream_id,
        )
        self._streams = self._publisher.streams
        self._engine = [
            EngineStream(context, address, self._streams[address.dp_rank], self._counts)
            for address in addresses
        ]

    def source_at(self, host: str) -> KvSource:
        """Returns what a Hello says of this relay to a frontend that reaches us at `host`."""
        return self._publisher.source_at(host)

    def numbered(self, load: RankLoad) -> RankLoad:
        """Returns a load with the latest number of its rank's stream; as it is for a rank of
        another node.
        """
        stream = self._streams.get(load.dp_rank)
        return load if stream is None else replace(load, kv_number=stream.number)

    def numbers(self) -> list[RankLoad]:
        """Returns the latest number of each rank's stream, without loads."""
        return [
            RankLoad(dp_rank, 0, 0, 0, kv_number=stream.number)
            for dp_rank, stream in self._streams.items()
        ]

    def counts(self) -> RelayCounts:
        """Returns what befell the streams so far."""
        counts = self._counts
        return RelayCounts(
            gaps=counts.gaps,
            replays=counts.replays,
            losses=counts.losses,
            restarts=counts.restarts,
            malformed=counts.malformed,
            orphans=sum(stream.table.orphans for stream in self._streams.values()),
        )

    def close(self) -> None:
        """Closes every socket."""
        for stream in self._engine:
            stream.close()
        self._publisher.close()
