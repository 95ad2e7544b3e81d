"""What is made of pictures, as it travels from one worker to the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import media_plane
from protocol.errors import ProtocolViolation
from protocol.media import Encoding
from protocol.media_plane import (
    Encodings,
    FetchEncodings,
    decode_encodings,
    decode_question,
    encode_encodings,
    encode_question,
)

REQUEST_ID = "0123456789abcdef" * 2


def test_a_question_arrives_as_it_was_asked() -> None:
    fetch = FetchEncodings(REQUEST_ID, grids_only=True)
    assert decode_question(encode_question(fetch)) == fetch


@given(
    lengths=st.lists(st.integers(0, 40), max_size=5),
    slice_bytes=st.integers(1, 16),
)
def test_data_of_any_length_arrives_whole(lengths: list[int], slice_bytes: int) -> None:
    sent = Encodings(
        REQUEST_ID,
        [Encoding("vectors", (1, 2, 2), 1, data=bytes(range(length))) for length in lengths],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(media_plane, "SLICE_BYTES", slice_bytes)
        frames = encode_encodings(sent)
    assert decode_encodings(frames).encodings == sent.encodings


def test_frames_that_do_not_belong_together_are_refused() -> None:
    frames = encode_encodings(
        Encodings(REQUEST_ID, [Encoding("vectors", (1, 2, 2), 1, data=b"1234")])
    )
    for wrong in (frames[:-1], [*frames, b"more"], frames[:1], [b"\x07", *frames[1:]]):
        with pytest.raises(ProtocolViolation):
            decode_encodings(wrong)


@pytest.mark.parametrize(
    ("encoding", "rows"),
    [
        (Encoding("vectors", (1, 2, 2), 2, "float32", b"12345678"), 1),
        (Encoding("vectors", (1, 2, 2), 2, "bfloat16", b"12345678"), 2),
        (Encoding("vectors", (1, 2, 2), 2, "float32", b"1234567"), -1),
        (Encoding("vectors", (1, 2, 2), 0, "float32", b"1234"), -1),
        (Encoding("grid", (1, 2, 2)), 0),
    ],
)
def test_rows_are_whole_or_there_are_none(encoding: Encoding, rows: int) -> None:
    assert encoding.rows == rows
