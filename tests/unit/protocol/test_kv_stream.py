"""The KV plane's wire: golden bytes, round trips, and whatever a hostile peer may send."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolViolation
from protocol.kv_stream import (
    BlockBatch,
    Cleared,
    Removed,
    Snapshot,
    SnapshotRequest,
    Stored,
    decode_batch,
    decode_request,
    decode_snapshot,
    encode_batch,
    encode_message,
    pack_hashes,
    unpack_hashes,
)

U64 = st.integers(0, 2**64 - 1)
MEDIA = st.sampled_from([0, 1, 2])
CHANGES = st.one_of(
    st.builds(Stored, MEDIA, st.lists(U64).map(pack_hashes)),
    st.builds(Removed, MEDIA, st.lists(U64).map(pack_hashes)),
    st.just(Cleared()),
)
BATCHES = st.builds(
    BlockBatch,
    st.integers(0, 2**63 - 1),
    st.integers(0, 1023),
    st.integers(0, 2**63 - 1),
    st.floats(0, 2e9),
    st.lists(CHANGES),
)

DECODERS: list[Callable[[Sequence[bytes]], Any]] = [decode_batch, decode_request, decode_snapshot]


@given(BATCHES)
def test_batches_survive_the_round_trip(batch: BlockBatch) -> None:
    assert decode_batch(encode_batch(batch)) == batch


@given(st.lists(U64))
def test_hashes_survive_the_round_trip(hashes: list[int]) -> None:
    assert list(unpack_hashes(pack_hashes(hashes))) == hashes
    assert pack_hashes(hashes) == b"".join(number.to_bytes(8, "little") for number in hashes)


def test_golden_bytes() -> None:
    batch = BlockBatch(7, 258, 3, 1.5, [Stored(0, pack_hashes([1])), Removed(1, b""), Cleared()])
    frames = [frame.hex() for frame in encode_batch(batch)]
    assert frames == [
        "0102",
        "01",
        "9507cd010203cb3ff80000000000009393a17300c408010000000000000093a17201c40091a163",
    ]
    request, snapshot = SnapshotRequest(7, 258), Snapshot(7, 258, 3, [pack_hashes([1]), b"", b""])
    assert [frame.hex() for frame in encode_message(request)] == [
        "01",
        "93b0736e617073686f745f7265717565737407cd0102",
    ]
    assert [frame.hex() for frame in encode_message(snapshot)] == [
        "01",
        "95a8736e617073686f7407cd01020393c4080100000000000000c400c400",
    ]
    assert (decode_request(encode_message(request)), decode_snapshot(encode_message(snapshot))) == (
        request,
        snapshot,
    )


@given(st.lists(st.binary(max_size=64), max_size=4))
def test_no_bytes_do_more_than_violate(frames: list[bytes]) -> None:
    for decode in DECODERS:
        with pytest.raises(ProtocolViolation):
            decode(frames)


@given(BATCHES, st.data())
def test_a_cut_batch_is_a_violation(batch: BlockBatch, data: st.DataObject) -> None:
    topic, version, body = encode_batch(batch)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ProtocolViolation):
        decode_batch([topic, version, body[:cut]])


def test_a_batch_under_another_ranks_topic_is_a_violation() -> None:
    frames = encode_batch(BlockBatch(1, 2, 3, 0.0, []))
    with pytest.raises(ProtocolViolation, match="topic"):
        decode_batch([b"\0\1", *frames[1:]])


def test_torn_hashes_are_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        unpack_hashes(b"\0" * 9)
