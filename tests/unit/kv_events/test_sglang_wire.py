"""SGLang's KV events: messages recorded from real engines, the older array form, and bytes that are
neither.
"""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kv_events.sglang_wire import (
    AllBlocksCleared,
    BlockRemoved,
    BlockStored,
    EventBatch,
    decode_batch,
    decode_sequence,
    encode_batch,
    encode_sequence,
)
from protocol.errors import ProtocolViolation

CAPTURES = Path(__file__).parent / "captures"
"""Topic, sequence and payload frames of SGLang 0.5.23 on a CPU: plain, two replicas (dp_*), two
attention ranks (dpattn_*).
"""

NAMES = sorted(path.name.removesuffix(".payload.bin") for path in CAPTURES.glob("*.payload.bin"))


@pytest.mark.parametrize("name", NAMES)
def test_recorded_messages_are_read(name: str) -> None:
    batch = decode_batch((CAPTURES / f"{name}.payload.bin").read_bytes())
    number = decode_sequence((CAPTURES / f"{name}.seq.bin").read_bytes())
    assert batch.events
    assert batch.attn_dp_rank in (0, 1)
    assert (number == 0) == isinstance(batch.events[0], AllBlocksCleared) or "cleared" in name
    for event in batch.events:
        if isinstance(event, BlockStored):
            assert len(event.token_ids) == event.block_size * len(event.block_hashes)
            assert event.medium == "GPU"


def test_recorded_messages_are_written_the_same_way() -> None:
    """The sim engine writes what a real one would, but for `lora_id`, which is always null there
    and left out here.
    """
    for name in NAMES:
        payload = (CAPTURES / f"{name}.payload.bin").read_bytes()
        recorded = msgspec.msgpack.decode(payload)
        for event in recorded[1]:
            assert event.pop("lora_id", None) is None
        assert msgspec.msgpack.decode(encode_batch(decode_batch(payload))) == recorded


def test_the_older_array_form_is_read() -> None:
    events = [
        ["BlockStored", [1, -2], None, [5, 6, 7, 8], 2, None],
        ["BlockRemoved", [1]],
        ["AllBlocksCleared"],
    ]
    batch = decode_batch(msgspec.msgpack.encode([1.5, events]))
    assert batch == EventBatch(
        1.5, [BlockStored([1, -2], None, [5, 6, 7, 8], 2), BlockRemoved([1]), AllBlocksCleared()]
    )


def test_pairs_of_speculative_models_are_read() -> None:
    stored = BlockStored([1], None, [(5, 6), (6, 7)], 2)
    assert decode_batch(encode_batch(EventBatch(1.5, [stored], 0))).events == [stored]


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_violate(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode_batch(payload)


@pytest.mark.parametrize(
    "batch",
    [
        [1.5],
        [1.5, [["NoSuchEvent"]]],
        [1.5, [[]]],
        [1.5, [5]],
        [1.5, [{"type": "BlockRemoved"}]],
        [1.5, [["BlockStored"]]],
        "x",
    ],
)
def test_what_is_no_batch_is_a_violation(batch: object) -> None:
    with pytest.raises(ProtocolViolation):
        decode_batch(msgspec.msgpack.encode(batch))


@given(st.integers(0, 2**64 - 1))
def test_sequence_frames_survive_the_round_trip(number: int) -> None:
    assert decode_sequence(encode_sequence(number)) == number


def test_a_short_sequence_frame_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        decode_sequence(b"\0" * 7)
