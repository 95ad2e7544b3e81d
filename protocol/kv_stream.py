"""Defines the KV plane: what a worker publishes about its ranks' caches, and how a frontend that
came late catches up. Add-only.

Each rank's stream is numbered without gaps from 1. Block hashes (kv_events.hashing) travel as raw
little-endian u64. A subscriber that misses a number asks for a snapshot; a lost tail shows by the
latest number in the worker's heartbeat.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.codec import decode_frames
from protocol.errors import ProtocolViolation
from protocol.fields import DpRank
from protocol.limits import WIRE_VERSION
from protocol.membership import StreamId
from protocol.packed import pack, unpack

Medium = Literal[0, 1, 2]
"""Says where a block lies: 0 is GPU memory, 1 host memory, 2 disk or a pool outside the host.

The slower ones count for less.
"""

GPU: Final = 0
HOST: Final = 1
DISK: Final = 2
MEDIA: Final = (GPU, HOST, DISK)

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Stored(Struct, frozen=True, tag="s", array_like=True):
    """A Stored says that a rank holds these blocks in `medium` now."""

    medium: Medium
    hashes: bytes


class Removed(Struct, frozen=True, tag="r", array_like=True):
    """A Removed says that a rank holds these blocks in `medium` no longer."""

    medium: Medium
    hashes: bytes


class Cleared(Struct, frozen=True, tag="c", array_like=True):
    """A Cleared says that a rank holds nothing any more."""


Change = Stored | Removed | Cleared


class BlockBatch(Struct, frozen=True, array_like=True):
    """A BlockBatch is one message of a rank's stream; its changes apply in order."""

    stream_id: StreamId
    """Names the publishing process by a random number: an address may be another process's by now.
    """
    dp_rank: DpRank
    number: Number
    engine_unix_s: float
    """Says when the engine published what the batch tells; receivers take the event lag from it."""
    changes: list[Change]


class SnapshotRequest(Struct, frozen=True, tag="snapshot_request", array_like=True):
    """A SnapshotRequest asks a publisher for all that a rank holds."""

    stream_id: StreamId
    dp_rank: DpRank


class Snapshot(Struct, frozen=True, tag="snapshot", array_like=True):
    """A Snapshot lists all that a rank held when its stream stood at `number`."""

    stream_id: StreamId
    dp_rank: DpRank
    number: Number
    hashes: Annotated[list[bytes], Meta(max_length=len(MEDIA))]
    """Holds the packed block hashes of each medium, in the order of MEDIA."""


def topic_of(dp_rank: int) -> bytes:
    """Returns the PUB/SUB topic of a rank: two bytes always, since ZMQ matches topics by prefix."""
    return dp_rank.to_bytes(2, "big")


def pack_hashes(hashes: Iterable[int]) -> bytes:
    """Packs block hashes, shape [n], into 8n bytes."""
    return pack("Q", hashes)


def unpack_hashes(packed: bytes) -> Sequence[int]:
    """Unpacks 8n bytes into an array of n block hashes.

    Raises:
        ProtocolViolation: the length is no multiple of eight.
    """
    return unpack("Q", packed)


_encode = msgspec.msgpack.Encoder().encode
_decode_batch = msgspec.msgpack.Decoder(BlockBatch).decode
_decode_request = msgspec.msgpack.Decoder(SnapshotRequest).decode
_decode_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


def encode_batch(batch: BlockBatch) -> list[bytes]:
    """Returns the frames of a published batch: [topic, version, msgpack]."""
    return [topic_of(batch.dp_rank), WIRE_VERSION, _encode(batch)]


def decode_batch(frames: Sequence[bytes]) -> BlockBatch:
    """Returns the batch in the frames that a publisher sent.

    Raises:
        ProtocolViolation: it is none, or its topic is another rank's.
    """
    batch = decode_frames(_decode_batch, frames[1:], "a subscriber")
    if frames[0] != topic_of(batch.dp_rank):
        raise ProtocolViolation(f"topic {frames[0][:8].hex()} is not that of rank {batch.dp_rank}")
    return batch


def encode_message(message: SnapshotRequest | Snapshot) -> list[bytes]:
    """Returns the frames of a snapshot or of a request for one, between DEALER and ROUTER:
    [version, msgpack].
    """
    return [WIRE_VERSION, _encode(message)]


def decode_request(frames: Sequence[bytes]) -> SnapshotRequest:
    """Returns the snapshot request in a message's frames; raises ProtocolViolation when it is
    none.
    """
    return decode_frames(_decode_request, frames, "a publisher")


def decode_snapshot(frames: Sequence[bytes]) -> Snapshot:
    """Returns the snapshot in a message's frames; raises ProtocolViolation when it is none."""
    return decode_frames(_decode_snapshot, frames, "a subscriber")
