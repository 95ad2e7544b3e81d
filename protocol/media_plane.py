"""Defines the media plane: a worker fetches the encodings of a request's pictures from the worker
that made them. Add-only.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from protocol.codec import decode_frames
from protocol.errors import ProtocolViolation
from protocol.fields import Count, RequestId
from protocol.limits import MESSAGE_BYTES_MAX, MESSAGE_CHARS_MAX, WIRE_VERSION
from protocol.media import MEDIA_MAX, Encoding

SLICE_BYTES: Final = MESSAGE_BYTES_MAX // 2
"""Is the size of the frames that encodings travel in, one for all but the largest pictures, so that
what arrives need not be put together.
"""

_HEAD_FRAMES: Final = 2


class FetchEncodings(Struct, frozen=True, tag="fetch_encodings", array_like=True):
    """A FetchEncodings asks a worker for what it made, or will make, for a request."""

    request_id: RequestId
    grids_only: bool = False


class Encodings(Struct, frozen=True, tag="encodings", array_like=True, omit_defaults=True):
    """An Encodings answers a FetchEncodings: with an encoding for each picture of the request, or
    why there are none.

    On the wire it has no `data`: frames of it follow, as many as `slices` says of each.
    """

    request_id: RequestId
    encodings: Annotated[list[Encoding], Meta(max_length=MEDIA_MAX)] = []
    slices: Annotated[list[Count], Meta(max_length=MEDIA_MAX)] = []
    failure: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)] = ""
    pending: bool = False
    """Says that the question was heard, and that another answer follows."""


_encode = msgspec.msgpack.Encoder().encode
_decode_fetch = msgspec.msgpack.Decoder(FetchEncodings).decode
_decode_encodings = msgspec.msgpack.Decoder(Encodings).decode


def encode_fetch(fetch: FetchEncodings) -> list[bytes]:
    """Returns the frames of a question for encodings: [version, msgpack]."""
    return [WIRE_VERSION, _encode(fetch)]


def decode_fetch(frames: Sequence[bytes]) -> FetchEncodings:
    """Returns the question in a message's frames; raises ProtocolViolation when it is none."""
    return decode_frames(_decode_fetch, frames, "an encode worker")


def encode_encodings(answer: Encodings) -> list[bytes]:
    """Returns the frames of an answer: [version, msgpack, slices of the first one's data, ...]."""
    heads: list[Encoding] = []
    slices: list[int] = []
    frames: list[bytes] = []
    for each in answer.encodings:
        data = cast("bytes", memoryview(each.data))  # whose slices are no copies
        cut = [data[at : at + SLICE_BYTES] for at in range(0, len(data), SLICE_BYTES)]
        heads.append(replace(each, data=b""))
        slices.append(len(cut))
        frames += cut
    head = replace(answer, encodings=heads, slices=slices)
    return [WIRE_VERSION, _encode(head), *frames]


def decode_encodings(frames: Sequence[bytes]) -> Encodings:
    """Returns the answer in a message's frames, whose data it has, and not a copy where that is one
    frame.

    Raises:
        ProtocolViolation: it is none, or its data is not as long as it says.
    """
    head = decode_frames(_decode_encodings, frames[:_HEAD_FRAMES], "a worker")
    data = iter(frames[_HEAD_FRAMES:])
    if len(head.slices) != len(head.encodings) or sum(head.slices) != len(frames) - _HEAD_FRAMES:
        raise ProtocolViolation("an answer has other frames than it says")
    whole = [
        replace(each, data=next(data) if count == 1 else b"".join(islice(data, count)))
        for each, count in zip(head.encodings, head.slices, strict=True)
    ]
    return replace(head, encodings=whole)
