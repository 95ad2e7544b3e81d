"""How long texts are cut, vectors shortened, compared and written."""

import base64
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.vectors.embeddings import SLICE_NUMBERS, list_slices, shortened
from frontend.api.vectors.inputs import TextLength
from frontend.api.vectors.rerank import cosine
from protocol.errors import ContextOverflow, InvalidRequest
from protocol.membership import ModelCard
from protocol.tokens import pack_tokens, unpack_tokens

CLS, SEP = 1, 2


class Words:
    """A model whose tokens are the lengths of words, between CLS and SEP.

    Five tokens are the longest text that it takes.
    """

    pairs = None

    def __init__(self, card: ModelCard) -> None:
        self.card = msgspec.structs.replace(card, context_length=6)

    async def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> bytes:
        ids = [10 + len(word) for word in text.split()]
        return pack_tokens([CLS, *ids, SEP] if add_special_tokens else ids)


def _length(card: ModelCard, truncate: int | None) -> TextLength:
    return TextLength(Words(card), truncate)  # type: ignore[arg-type]


async def test_a_text_that_fits_is_left_alone(card: ModelCard) -> None:
    for truncate in (None, -1, 5):
        assert list(unpack_tokens(await _length(card, truncate).encode("a bb ccc", "input"))) == [
            CLS,
            11,
            12,
            13,
            SEP,
        ]


async def test_a_longer_one_is_refused_with_both_numbers(card: ModelCard) -> None:
    with pytest.raises(
        ContextOverflow, match=r"at most 5 tokens at once. However, input\[7\] has 6 tokens"
    ) as refused:
        await _length(card, None).encode("a bb ccc dddd", "input[7]")
    assert refused.value.param == "input[7]"
    with pytest.raises(ContextOverflow, match="has 6 tokens"):
        _length(card, None).take([3] * 6, "input")


@pytest.mark.parametrize(
    ("truncate", "wanted"),
    [(-1, [CLS, 11, 12, 13, SEP]), (4, [CLS, 11, 12, SEP]), (3, [CLS, 11, SEP]), (2, [CLS, 11])],
)
async def test_cut_texts_keep_their_special_tokens(
    card: ModelCard, truncate: int, wanted: list[int]
) -> None:
    assert (
        list(unpack_tokens(await _length(card, truncate).encode("a bb ccc dddd eeeee", "input")))
        == wanted
    )
    assert len(_length(card, truncate).take([3] * 9, "input")) == 4 * min(5, len(wanted))


@pytest.mark.parametrize("truncate", [0, 6])
def test_texts_are_not_cut_to_what_the_model_does_not_take(card: ModelCard, truncate: int) -> None:
    with pytest.raises(InvalidRequest, match="-1 or 1 to 5"):
        _length(card, truncate)


def test_token_ids_are_those_of_the_vocabulary(card: ModelCard) -> None:
    with pytest.raises(InvalidRequest, match="Token id 100 is outside the vocabulary of 100"):
        _length(card, None).take([99, 100], "input")


floats = st.floats(-1e6, 1e6, width=32)


@given(st.lists(floats, min_size=2, max_size=20), st.integers(1, 20))
def test_shortened_vectors_point_where_their_heads_do(
    numbers: list[float], dimensions: int
) -> None:
    head = np.array(numbers, dtype=np.float32)[:dimensions]
    short = shortened(np.array(numbers, dtype=np.float32), dimensions)
    assert short.dtype == np.float32
    assert len(short) == min(dimensions, len(numbers))
    length = float(np.linalg.norm(head))
    if length > 1e-3:
        assert float(np.linalg.norm(short)) == pytest.approx(1.0, rel=1e-4)
        assert cosine(short, head) == pytest.approx(1.0, rel=1e-4)


def test_a_vector_without_direction_is_like_no_other() -> None:
    zero, one = np.zeros(3, dtype=np.float32), np.ones(3, dtype=np.float32)
    assert cosine(zero, one) == 0.0
    assert cosine(one, -one) == pytest.approx(-1.0)
    assert np.array_equal(shortened(zero, 2), zero[:2])


@given(st.lists(st.lists(floats, min_size=3, max_size=3), min_size=1, max_size=5))
def test_what_is_written_is_what_was_made(rows: list[list[float]]) -> None:
    vectors = [np.array(row, dtype=np.float32) for row in rows]
    for base64_wanted in (False, True):
        answer: dict[str, Any] = json.loads(
            b"".join(list_slices(vectors, base64_wanted=base64_wanted)) + b"]}"
        )
        assert [entry["index"] for entry in answer["data"]] == list(range(len(rows)))
        for entry, vector in zip(answer["data"], vectors, strict=True):
            read = (
                np.frombuffer(base64.b64decode(entry["embedding"]), "<f4")
                if base64_wanted
                else np.float32(entry["embedding"])
            )
            assert np.array_equal(read, vector)


def test_much_is_written_in_pieces() -> None:
    vectors = [np.ones(1_024, dtype=np.float32)] * 100
    pieces = list(list_slices(vectors, base64_wanted=True))
    assert len(pieces) == 100 * 1_024 // SLICE_NUMBERS + 1
    assert len(json.loads(b"".join(pieces) + b"]}")["data"]) == 100
