"""Reads and writes KV-cache events as SGLang publishes them: three frames, topic, sequence number
(8 bytes, big-endian), and a msgpack batch.

SGLang 0.5.23 writes each event as a map tagged by `type` and leaves out optional fields that are
None; older versions wrote arrays `[type, fields…]`. Both are read; the map form is what the sim
engine writes. Source: sglang/srt/disaggregation/kv_events.py.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta, Struct

from protocol.errors import ProtocolViolation

SEQUENCE_BYTES: Final = 8
REPLAY_END: Final = b"\xff" * SEQUENCE_BYTES
"""Is the sequence frame of the message behind the last replayed batch."""

FRAMES: Final = 3

Hash = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class BlockStored(Struct, frozen=True, tag=True, omit_defaults=True):
    """A BlockStored tells of pages that are cached now, each the parent of the next.

    Hashes are the engine's own: opaque, used to link and to remove.
    """

    block_hashes: list[Hash]
    parent_block_hash: Hash | None
    token_ids: list[int | tuple[int, int]]
    """Holds block_size ids a page; under EAGLE pairs (id, next id).

    Bounds are left to whoever hashes them: msgspec 0.22 crashes at exit over a constrained tuple in
    a union.
    """
    block_size: Annotated[int, Meta(ge=1, le=65_536)]
    lora_id: int | None = None
    medium: str | None = None
    cache_salt: str | None = None
    session_id: str | None = None
    lora_name: str | None = None


class BlockRemoved(Struct, frozen=True, tag=True, omit_defaults=True):
    """A BlockRemoved tells of pages that are no longer held in `medium`."""

    block_hashes: list[Hash]
    medium: str | None = None


class AllBlocksCleared(Struct, frozen=True, tag=True):
    """An AllBlocksCleared says that nothing is cached any more, in any medium."""


Event = BlockStored | BlockRemoved | AllBlocksCleared


class EventBatch(Struct, frozen=True, array_like=True):
    """An EventBatch tells what one engine step did to one rank's cache."""

    ts: float
    events: list[Event]
    attn_dp_rank: int | None = None


class _LooseBatch(Struct, array_like=True):
    ts: float
    events: list[Any]
    attn_dp_rank: int | None = None


_decode = msgspec.msgpack.Decoder(EventBatch).decode
_decode_loosely = msgspec.msgpack.Decoder(_LooseBatch).decode
_encode = msgspec.msgpack.Encoder().encode
_EVENT_TYPES: Final = (BlockStored, BlockRemoved, AllBlocksCleared)
_FIELDS: Final = {kind.__name__: kind.__struct_fields__ for kind in _EVENT_TYPES}


def encode_batch(batch: EventBatch) -> bytes:
    """Returns the payload frame of a batch."""
    return _encode(batch)


def decode_batch(payload: bytes) -> EventBatch:
    """Returns the batch in a payload frame, in the map or the array form.

    Raises:
        ProtocolViolation: it is neither.
    """
    try:
        return _decode(payload)
    except msgspec.ValidationError:
        return _decode_arrays(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolViolation(f"not a batch of KV events: {error}") from None


def decode_sequence(frame: bytes) -> int:
    """Returns the batch number in a sequence frame.

    Raises:
        ProtocolViolation: it has not eight bytes.
    """
    if len(frame) != SEQUENCE_BYTES:
        raise ProtocolViolation(f"a sequence frame has {SEQUENCE_BYTES} bytes, got {len(frame)}")
    return int.from_bytes(frame, "big")


def encode_sequence(number: int) -> bytes:
    """Returns the sequence frame of a batch number."""
    return number.to_bytes(SEQUENCE_BYTES, "big")


def _decode_arrays(payload: bytes) -> EventBatch:
    """Returns the batch in the form of SGLang before 0.5.2x: each event an array that begins with
    its type, later fields may be missing.
    """
    try:
        loose = _decode_loosely(payload)
        events = [msgspec.convert(_named(event), Event) for event in loose.events]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ProtocolViolation(f"not a batch of KV events: {error}") from None
    return EventBatch(loose.ts, events, loose.attn_dp_rank)


def _named(event: Any) -> Any:
    values = cast("Sequence[Any]", event)
    if not isinstance(event, list) or not values:
        return values
    fields = _FIELDS.get(str(values[0]), ())
    return {"type": values[0], **dict(zip(fields, values[1:], strict=False))}
