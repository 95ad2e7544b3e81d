"""Publishes what a worker's ranks hold, as numbered streams on a PUB, and snapshots on a ROUTER."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

import zmq

from kv_events.cadence import Cadence
from kv_events.rank_stream import RankStream
from protocol.errors import ProtocolViolation
from protocol.kv_stream import BlockBatch, decode_request, encode_batch, encode_message
from protocol.membership import KvSource
from protocol.process.log_floods import Complaint
from protocol.transport.curve import MeshKey
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import (
    Socket,
    bound_publisher,
    bound_router,
    endpoint_of,
    reached_at,
)

log = logging.getLogger(__name__)

_IDENTITY_FRAMES: Final = 1

GATHER_S: Final = 0.01
"""Is the time in which what ranks do is told together: a batch costs its publisher and each
subscriber three wakes of a thread, whatever is in it, and what was routed a moment ago is predicted
(`kv_events.predictions`).
"""


class KvPublisher:
    """A KvPublisher owns a PUB, a ROUTER and the streams of a contiguous range of ranks.

    Args:
        bind: `tcp://HOST:*`, or a port instead of `*` for the events (snapshots then take the next
        one), or `ipc://PATH`.
        stream_id: random per process.
    Raises:
        StartError: other hosts can reach the address and there is no key.
        zmq.ZMQError: an address is taken.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        dp_ranks: Sequence[int],
        *,
        block_size_tokens: int,
        bind: str,
        key: MeshKey | None,
        stream_id: int,
    ) -> None:
        self._complaint = Complaint(time.monotonic)
        self._cadence = Cadence(self._leave, GATHER_S)
        self._stream_id = stream_id
        self.streams: Mapping[int, RankStream] = {
            rank: RankStream(
                stream_id,
                rank,
                block_size_tokens,
                publish=self._publish,
                soon=self._cadence.soon,
            )
            for rank in dp_ranks
        }
        self._events = bound_publisher(context, bind, key)
        try:
            router = bound_router(context, _beside(bind), key)
        except BaseException:
            self._events.close(linger=0)
            raise
        self._endpoints = endpoint_of(self._events), endpoint_of(router)
        self._router = SocketPump(router, self._on_request)

    def source_at(self, host: str) -> KvSource:
        """Returns what a Hello says of this publisher to a frontend that reaches us at `host`."""
        events, snapshots = (reached_at(host, endpoint) for endpoint in self._endpoints)
        return KvSource(
            stream_id=self._stream_id,
            events=events,
            snapshots=snapshots,
            first_rank=min(self.streams),
            rank_count=len(self.streams),
        )

    def close(self) -> None:
        """Closes the sockets; nobody waits for what they hold."""
        self._cadence.close()
        self._router.close()
        self._events.close(linger=0)

    def _leave(self) -> None:
        for stream in self.streams.values():
            stream.leave()

    def _publish(self, batch: BlockBatch) -> None:
        """Sends one batch to whoever listens and has room."""
        try:
            self._events.send_multipart(encode_batch(batch), zmq.DONTWAIT)
        except zmq.Again:
            # a gap to its subscribers, like any other
            log.debug("batch %d of rank %d found no room", batch.number, batch.dp_rank)

    def _on_request(self, frames: list[bytes]) -> None:
        try:
            request = decode_request(frames[_IDENTITY_FRAMES:])
        except ProtocolViolation as violation:
            if self._complaint.due():
                log.warning("dropped a malformed snapshot request: %s", violation.message[:200])
            return
        stream = self.streams.get(request.dp_rank)
        if request.stream_id == self._stream_id and stream is not None:
            self._router.send([*frames[:_IDENTITY_FRAMES], *encode_message(stream.snapshot())])


def _beside(bind: str) -> str:
    """Returns the next address, for the snapshots, if `bind` is for the events."""
    if bind.startswith("ipc://"):
        return f"{bind}-snapshots"
    front, _, port = bind.rpartition(":")
    return bind if port == "*" else f"{front}:{int(port) + 1}"
