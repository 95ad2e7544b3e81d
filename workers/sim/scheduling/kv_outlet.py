"""One simulated rank's KV events are collected as the cache changes, and published when SGLang
would, in SGLang's form over ZMQ.

Source: sglang/srt/mem_cache/events.py (what is joined), managers/scheduler.py (when it is
published) and disaggregation/kv_events.py (ZmqEventPublisher: three frames, replay) of SGLang
0.5.23.
"""

import time
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Final, cast

import zmq

from kv_events.sglang_wire import (
    REPLAY_END,
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    Event,
    EventBatch,
    encode_batch,
    encode_sequence,
)
from protocol.process.start_error import StartError
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket, bound_publisher, bound_router
from workers.kv_events_config import KvEventsConfig, of_rank
from workers.sim.faults import Faults
from workers.sim.pictures import SimPictures
from workers.sim.scheduling.namespace import Namespace

_REQUEST_FRAMES: Final = 3
"""A request for a replay has this many frames: identity, an empty frame, the number to begin
with.
"""


class KvOutlet:
    """A KvOutlet is a cache listener with sockets of its own, on the worker's event loop.

    Raises:
        StartError: an address is not one of this host, or cannot be bound; what was opened is
        closed with the context.
    """

    def __init__(
        self,
        context: "zmq.Context[Socket]",
        config: KvEventsConfig,
        dp_rank: int,
        *,
        page_size: int,
        steps_max: int,
        faults: Faults,
        pictures: SimPictures,
    ) -> None:
        self._pictures = pictures
        self._dp_rank = dp_rank
        self._page_size = page_size
        self._steps_max = steps_max
        self._faults = faults
        self._topic = config.topic.encode()
        self._pending: list[Event] = []
        """These events are to be published, bounded by what one step, or `steps_max` decode steps,
        can change in a cache.
        """
        self._decode_steps = 0
        self._next = 0
        self._swapped: list[bytes] | None = None
        self._sent: deque[tuple[int, bytes]] = deque(maxlen=config.buffer_steps)
        try:
            self._events = bound_publisher(
                context, of_rank(config.endpoint, dp_rank), None, messages_queued_max=config.hwm
            )
            router = (
                None
                if config.replay_endpoint is None
                else bound_router(context, of_rank(config.replay_endpoint, dp_rank), None)
            )
        except zmq.ZMQError as error:
            raise StartError(f"cannot publish the KV events of rank {dp_rank}: {error}") from None
        self._replay = None
        if router is not None:
            # A reader that stands still in the middle of a replay must not hold up the engine's
            # end.
            router.setsockopt(zmq.LINGER, 0)
            self._replay = SocketPump(router, self._on_replay)
        self.cleared()
        self.flush()

    def stored(
        self, parent: int | None, ids: Sequence[int], pages: bytes, namespace: Namespace
    ) -> None:
        """Notes that pages are cached now; joined to what was stored just before if they continue
        it.
        """
        tokens = cast("list[int | tuple[int, int]]", self._pictures.told(array("I", pages)))
        tail = self._pending[-1] if self._pending else None
        if isinstance(tail, BlockStored) and tail.block_hashes[-1] == parent:
            tail.block_hashes.extend(ids)
            tail.token_ids.extend(tokens)
            return
        self._pending.append(
            BlockStored(
                list(ids),
                parent,
                tokens,
                self._page_size,
                medium="GPU",
                lora_name=namespace.lora_name,
                cache_salt=namespace.cache_salt,
            )
        )

    def removed(self, ids: Sequence[int]) -> None:
        """Notes that pages are cached no longer; joined to what was removed just before."""
        tail = self._pending[-1] if self._pending else None
        if isinstance(tail, BlockRemoved):
            tail.block_hashes.extend(ids)
        else:
            self._pending.append(BlockRemoved(list(ids), "GPU"))

    def cleared(self) -> None:
        """Notes that nothing is cached any more."""
        self._pending.append(AllBlocksCleared())

    def after_step(self, *, prefill: bool, idle: bool) -> None:
        """Publishes what is pending if SGLang would now: after a prefill, every so many decode
        steps, when idle.
        """
        # Decode steps are counted through, whatever was published between them, as SGLang's
        # forward_ct_decode is.
        self._decode_steps += not prefill
        if prefill or idle or self._decode_steps % self._steps_max == 0:
            self.flush()

    def flush(self) -> None:
        """Publishes what is pending; nothing once closed, though an engine that stops may still
        change its cache.
        """
        if not self._pending:
            return
        events, self._pending = self._pending, []
        if self._events.closed:
            return
        number, payload = self._next, encode_batch(EventBatch(time.time(), events, self._dp_rank))
        self._next += 1
        self._sent.append((number, payload))
        self._publish(number, [self._topic, encode_sequence(number), payload])

    def close(self) -> None:
        """Closes the sockets; nobody waits for what they hold."""
        if self._replay is not None:
            self._replay.close()
        self._events.close(linger=0)

    def _publish(self, number: int, frames: list[bytes]) -> None:
        swapped, self._swapped = self._swapped, None
        fault = self._faults.on_kv_batch(number)
        if fault == "kv-swap" and swapped is None:
            self._swapped = frames
        elif fault != "kv-drop":
            self._send(frames)
        if fault == "kv-duplicate":
            self._send(frames)
        if swapped is not None:
            self._send(swapped)

    def _send(self, frames: list[bytes]) -> None:
        self._events.send_multipart(frames, zmq.DONTWAIT)

    def _on_replay(self, frames: list[bytes]) -> None:
        if len(frames) != _REQUEST_FRAMES:
            return
        client, _, frame = frames
        start = int.from_bytes(frame, "big")
        assert self._replay is not None
        for number, payload in self._sent:
            if number >= start:
                self._replay.send([client, b"", self._topic, encode_sequence(number), payload])
        self._replay.send([client, b"", b"", REPLAY_END, b""])
