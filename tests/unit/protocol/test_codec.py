"""The wire: golden bytes per message, round trips, and whatever a hostile peer may send."""

import contextlib
import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import ToFrontend, decode_to_frontend, decode_to_worker, encode
from protocol.errors import ProtocolViolation
from protocol.limits import FRAME_BYTES_MAX, WIRE_VERSION
from protocol.replies import FileChunk
from protocol.requests import ToWorker

GOLDEN = Path(__file__).parent / "golden.json"
REGENERATE = "KVMESH_REGENERATE_GOLDEN"


def test_every_message_keeps_its_golden_bytes(
    to_worker: dict[str, ToWorker], to_frontend: dict[str, ToFrontend]
) -> None:
    actual = {
        name: [frame.hex() for frame in encode(message)]
        for name, message in {**to_worker, **to_frontend}.items()
    }
    if os.environ.get(REGENERATE):
        GOLDEN.write_text(json.dumps(actual, indent=1) + "\n")
    assert actual == json.loads(GOLDEN.read_text())


def test_golden_bytes_decode_to_the_messages_they_were_made_of(
    to_worker: dict[str, ToWorker], to_frontend: dict[str, ToFrontend]
) -> None:
    golden = {
        name: [bytes.fromhex(frame) for frame in frames]
        for name, frames in json.loads(GOLDEN.read_text()).items()
    }
    assert {name: decode_to_worker(golden[name]) for name in to_worker} == to_worker
    assert {name: decode_to_frontend(golden[name]) for name in to_frontend} == to_frontend


def test_fields_of_a_newer_version_are_ignored(to_frontend: dict[str, ToFrontend]) -> None:
    heartbeat = msgspec.msgpack.decode(encode(to_frontend["heartbeat"])[1])
    heartbeat["added_later"] = {"deep": [1, 2, 3]}
    heartbeat["ranks"][0].append("added later")
    assert (
        decode_to_frontend([WIRE_VERSION, msgspec.msgpack.encode(heartbeat)])
        == to_frontend["heartbeat"]
    )


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [WIRE_VERSION],
        [WIRE_VERSION, b"", b""],
        [b"", b""],
        [b"\x02", b"\xc0"],
        [b"x" * 1_000_000, b""],
    ],
)
def test_wrong_frames_are_violations(frames: list[bytes]) -> None:
    for decode in (decode_to_frontend, decode_to_worker):
        with pytest.raises(ProtocolViolation):
            decode(frames)


@pytest.mark.parametrize("over", [-1, 0, 1, FRAME_BYTES_MAX, 10 * FRAME_BYTES_MAX])
def test_a_large_message_travels_in_frames_that_a_stranger_may_send_as_well(over: int) -> None:
    bare = (
        len(encode(FileChunk("0" * 64, 0, 1, bytes(FRAME_BYTES_MAX // 2)))[1])
        - FRAME_BYTES_MAX // 2
    )
    message = FileChunk("0" * 64, 0, 1, os.urandom(FRAME_BYTES_MAX - bare + over))
    head, *packed = encode(message)
    assert head == WIRE_VERSION
    assert [len(frame) for frame in packed[:-1]] == [FRAME_BYTES_MAX] * (len(packed) - 1)
    assert 0 < len(packed[-1]) <= FRAME_BYTES_MAX
    assert (len(packed) == 1) == (over <= 0)
    assert decode_to_frontend([head, *packed]) == message


def test_more_frames_than_a_message_may_have_are_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="2 to 1025 frames"):
        decode_to_frontend([WIRE_VERSION, *[b"\xc0"] * 1_025])


def test_deep_nesting_is_a_violation_and_no_crash() -> None:
    for opener in (b"\x91", b"\x81\xa1a"):
        for decode in (decode_to_frontend, decode_to_worker):
            with pytest.raises(ProtocolViolation):
                decode([WIRE_VERSION, opener * 100_000])


@given(st.binary(max_size=300))
def test_random_bytes_are_violations_or_messages(payload: bytes) -> None:
    for decode in (decode_to_frontend, decode_to_worker):
        with contextlib.suppress(ProtocolViolation):
            decode([WIRE_VERSION, payload])


@given(st.data())
def test_truncated_and_corrupted_messages_never_raise_anything_else(data: st.DataObject) -> None:
    golden = [bytes.fromhex(frames[1]) for frames in json.loads(GOLDEN.read_text()).values()]
    payload = bytearray(data.draw(st.sampled_from(golden)))
    del payload[data.draw(st.integers(0, len(payload))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if payload:
            payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    for decode in (decode_to_frontend, decode_to_worker):
        with contextlib.suppress(ProtocolViolation):
            decode([WIRE_VERSION, bytes(payload)])
