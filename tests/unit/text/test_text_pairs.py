"""Pairs as the reference library makes them, and what is cut of them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from frontend.text.tokenizing.pairs import INLINE_CHARS_MAX, EncodedPair, PairTokenizer
from protocol.errors import InvalidRequest

CLS, SEP = 26, 27


def _bert_like() -> Tokenizer:
    """A word is a letter."""
    vocabulary = {chr(97 + index): index for index in range(26)} | {"[CLS]": CLS, "[SEP]": SEP}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", SEP), ("[CLS]", CLS))
    return tokenizer


TOKENIZER = PairTokenizer(_bert_like())
words = st.lists(st.sampled_from("abcdefgh"), max_size=8)


def _encoded(first: list[str], second: list[str]) -> EncodedPair:
    return asyncio.run(TOKENIZER.encode(" ".join(first), " ".join(second)))


@given(words, words)
def test_a_pair_is_both_texts_with_special_tokens_around(
    first: list[str], second: list[str]
) -> None:
    pair = _encoded(first, second)
    assert list(pair.token_ids) == [
        CLS,
        *(ord(word) - 97 for word in first),
        SEP,
        *(ord(word) - 97 for word in second),
        SEP,
    ]
    assert list(pair.types) == [0] * (len(first) + 2) + [1] * (len(second) + 1)


@given(words, words, st.integers(1, 24))
def test_a_cut_pair_is_one_with_a_shorter_second_text(
    first: list[str], second: list[str], tokens_max: int
) -> None:
    pair = _encoded(first, second)
    cut = pair.cut(tokens_max)
    room = tokens_max - len(first) - 3
    if room < 0 and len(pair.token_ids) > tokens_max:
        assert cut is None
    else:
        wanted = _encoded(first, second[:room])
        assert cut is not None
        assert (list(cut.token_ids), list(cut.types)) == (
            list(wanted.token_ids),
            list(wanted.types),
        )


def test_long_pairs_are_encoded_in_a_thread_to_the_same() -> None:
    words = ["a", "b"] * INLINE_CHARS_MAX
    pair = _encoded(words, words)
    assert list(pair.token_ids) == [
        CLS,
        *([0, 1] * INLINE_CHARS_MAX),
        SEP,
        *([0, 1] * INLINE_CHARS_MAX),
        SEP,
    ]


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        _encoded(["a"], ["\ud800"])
