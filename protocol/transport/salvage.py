"""Saves what is left of messages that do not encode or decode because of one request in them: the
others go on, and that one is told.

Only looked at when that has happened, so it may be slow.
"""

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from protocol.codec import encode, packed_in
from protocol.errors import EngineFault, InvalidRequest, ProtocolViolation
from protocol.limits import MESSAGE_CHARS_MAX, REQUEST_ID_CHARS, WIRE_VERSION
from protocol.numbering import numbers_of
from protocol.replies import Delta, Failed, StepBatch, Tokenized

_SICK: Final = Failed(EngineFault.code, "What the worker put out for this request cannot be sent.")


class _RawStep(Struct, tag="step"):
    deltas: list[msgspec.Raw]


def encodable(deltas: Sequence[Delta]) -> list[Delta]:
    """Returns the deltas, with a failure for each that does not encode: half a surrogate pair in a
    text, say.
    """
    return [
        delta if _encodes(delta) else Delta(delta.request_id, delta.start, b"", _SICK)
        for delta in deltas
    ]


def step_in(frames: Sequence[bytes]) -> StepBatch | None:
    """Returns the step in [head, msgpack] of which some deltas do not decode, with a failure for
    each of them; None if it is no step at all.
    """
    if not _has_head(frames):
        return None
    try:
        raw = msgspec.msgpack.decode(packed_in(frames), type=_RawStep)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    deltas = [_delta_in(bytes(each)) for each in raw.deltas]
    return StepBatch([delta for delta in deltas if delta is not None])


def refused(frames: Sequence[bytes], why: str) -> StepBatch | Tokenized | None:
    """Returns the answer to a request or question in [head, msgpack] that does not decode; None
    where it is not even clear whose it is.
    """
    fields = _loosely(packed_in(frames)) if _has_head(frames) else None
    if not isinstance(fields, dict):
        return None
    failed = Failed(
        InvalidRequest.code,
        f"The worker does not understand this request: {why}"[:MESSAGE_CHARS_MAX],
    )
    fields = cast("dict[Any, Any]", fields)
    if _is_id(fields.get("request_id")) and fields.get("type") in ("generate", "embed", "encode"):
        return StepBatch([Delta(fields["request_id"], 0, b"", failed)])
    if _is_id(fields.get("query_id")) and fields.get("type") == "tokenize":
        return Tokenized(fields["query_id"], failed=failed)
    return None


def _has_head(frames: Sequence[bytes]) -> bool:
    if len(frames) < 2 or frames[0][:1] != WIRE_VERSION:
        return False
    try:
        numbers_of(frames[0])
    except ProtocolViolation:
        return False
    return True


def _encodes(delta: Delta) -> bool:
    try:
        encode(StepBatch([delta]))
    except Exception:  # noqa: BLE001 - whatever the encoder has against it
        return False
    return True


def _delta_in(packed: bytes) -> Delta | None:
    try:
        return msgspec.msgpack.decode(packed, type=Delta)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        match _loosely(packed):
            case [str() as request_id, int() as start, *_] if _is_id(request_id):
                return Delta(request_id, start, b"", _SICK)
            case _:
                return None


def _loosely(packed: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(packed)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, TypeError):
        return None


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) == REQUEST_ID_CHARS
