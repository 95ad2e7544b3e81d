"""Defines the media plane: a worker fetches the encodings of a request's pictures from the worker
that made them, in frames, or out of its memory where both can (workers/nixl). Add-only.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Final, Literal, cast

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from protocol.codec import decode_frames
from protocol.errors import ProtocolViolation
from protocol.fields import Count, Name, RequestId
from protocol.limits import MESSAGE_BYTES_MAX, MESSAGE_CHARS_MAX, WIRE_VERSION
from protocol.media import MEDIA_MAX, Encoding

SLICE_BYTES: Final = MESSAGE_BYTES_MAX // 2
"""Is the size of the frames that encodings travel in, one for all but the largest pictures, so that
what arrives need not be put together.
"""

AGENT_BYTES_MAX: Final = 65_536
"""Bounds what an agent of NIXL says of itself: some 400 bytes, more with each network device."""

_HEAD_FRAMES: Final = 2

LeaseId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""Is drawn at random, so that no worker but the one that made an offer knows it."""


class FetchEncodings(Struct, frozen=True, tag="fetch_encodings", array_like=True):
    """A FetchEncodings asks a worker for what it made, or will make, for a request."""

    request_id: RequestId
    grids_only: bool = False
    reads_in: Name = ""
    """Names the place in whose memory the asker can read; empty where it takes frames alone."""


class Offer(Struct, frozen=True, array_like=True):
    """An Offer says where encodings lie in the memory of the worker that made them, one behind the
    other, for the one that it is made to, which reads them and says so (Taken).
    """

    lease: LeaseId
    agent: Annotated[bytes, Meta(max_length=AGENT_BYTES_MAX)]
    """Is what the worker's agent of NIXL says of itself."""
    address: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    sizes: Annotated[list[Count], Meta(min_length=1, max_length=MEDIA_MAX)]
    """Counts the bytes of each."""

    @property
    def size_bytes(self) -> int:
        """Returns the bytes of all of them."""
        return sum(self.sizes)


class Taken(Struct, frozen=True, tag="taken", array_like=True):
    """A Taken says what became of an Offer.

    Attributes:
        outcome: `read`: all of it was read, and is right if it still lay there: an Encodings with
        `granted` says so. `failed`: it was not read, and `late`: it is still being read, for too
        long; both are answered by frames. `ended`: what was late is not read any more.
    """

    request_id: RequestId
    lease: LeaseId
    outcome: Literal["read", "failed", "late", "ended"]


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
    offer: Offer | None = None
    """Says where the data lies that the encodings here have not."""
    granted: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Is the lease of which all lay there until it was read."""


_encode = msgspec.msgpack.Encoder().encode
_decode_question = msgspec.msgpack.Decoder(FetchEncodings | Taken).decode
_decode_encodings = msgspec.msgpack.Decoder(Encodings).decode


def encode_question(question: FetchEncodings | Taken) -> list[bytes]:
    """Returns the frames of what a worker that fetches says: [version, msgpack]."""
    return [WIRE_VERSION, _encode(question)]


def decode_question(frames: Sequence[bytes]) -> FetchEncodings | Taken:
    """Returns what a worker that fetches says in a message's frames; raises ProtocolViolation when
    that is nothing.
    """
    return decode_frames(_decode_question, frames, "an encode worker")


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
    if head.offer is not None and len(head.offer.sizes) != len(head.encodings):
        raise ProtocolViolation("an offer has other encodings than it says")
    whole = [
        replace(each, data=next(data) if count == 1 else b"".join(islice(data, count)))
        for each, count in zip(head.encodings, head.slices, strict=True)
    ]
    return replace(head, encodings=whole)
