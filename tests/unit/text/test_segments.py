"""Texts in segments: where they may be cut, and that what is found and what is new are together the
tokens of the whole.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from frontend.text.tokenizing.backends import FastokensBackend, HfBackend, TokenizerBackend
from frontend.text.tokenizing.hard_texts import FRAGMENTS
from frontend.text.tokenizing.inspection import inspect_tokenizer
from frontend.text.tokenizing.segment_cache import SegmentCache
from frontend.text.tokenizing.segments import (
    MARKS_MAX,
    SEGMENT_CHARS_MIN,
    cut,
    cuts_agree,
    join,
    marks_in,
    safe_marks,
)
from workers.demo_model import demo_model_dir

MARKS = ["<|im_end|>", "</s>", "<s>"]
READ_BY_FASTOKENS = ("demo", "byte_level", "llama", "gemma", "prefix_space")
KINDS = (*READ_BY_FASTOKENS, "word_piece", "metaspace_first", "unigram")
ENCODERS = [*((kind, "hf") for kind in KINDS), *((kind, "fastokens") for kind in READ_BY_FASTOKENS)]

texts = st.lists(
    st.one_of(
        st.sampled_from(
            [*MARKS, *FRAGMENTS, " ", "\n", "<|im", "_end|>", "<", "s>", "▁", "a b", "é"]
        ),
        st.text(max_size=12),
    ),
    max_size=24,
).map("".join)


def _unigram(pre_tokenizer: pre_tokenizers.PreTokenizer) -> Tokenizer:
    pieces = [
        ("<unk>", 0.0),
        *(
            (piece, -2.0 - len(piece) / 9)
            for piece in ["▁", "▁a", "a", "b", "▁b", "Hello", "▁Hello", "user", "\n", "ab", "é"]
        ),
    ]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def _metaspace_first() -> Tokenizer:
    tokenizer = _unigram(pre_tokenizers.Metaspace(prepend_scheme="first"))
    tokenizer.add_special_tokens(
        [AddedToken(mark, special=True, normalized=False, rstrip=mark == "</s>") for mark in MARKS]
    )
    return tokenizer


def _unigram_always() -> Tokenizer:
    tokenizer = _unigram(pre_tokenizers.Metaspace(prepend_scheme="always"))
    tokenizer.add_special_tokens(
        [AddedToken(mark, special=True, normalized=False, lstrip=mark == "</s>") for mark in MARKS]
    )
    tokenizer.add_tokens(
        [AddedToken("b", single_word=True, normalized=False), AddedToken("é", normalized=True)]
    )
    return tokenizer


def _prefix_space() -> Tokenizer:
    tokenizer = Tokenizer(
        models.BPE(
            vocab={char: at for at, char in enumerate(pre_tokenizers.ByteLevel.alphabet())},
            merges=[],
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_special_tokens(
        [AddedToken(mark, special=True, normalized=False) for mark in MARKS]
    )
    return tokenizer


@pytest.fixture(scope="module")
def files(
    tokenizer_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("more")
    made = {
        "metaspace_first": _metaspace_first(),
        "unigram": _unigram_always(),
        "prefix_space": _prefix_space(),
    }
    for kind, tokenizer in made.items():
        tokenizer.save(str(folder / f"{kind}.json"))
    return {
        **tokenizer_files,
        **{kind: folder / f"{kind}.json" for kind in made},
        "demo": demo_model_dir() / "tokenizer.json",
    }


@pytest.fixture(scope="module", params=ENCODERS, ids="-".join)
def library_and_marks(
    files: dict[str, Path], request: pytest.FixtureRequest
) -> tuple[TokenizerBackend, list[str]]:
    kind, backend = request.param
    file = files[kind]
    marks = marks_in(" ".join([*MARKS, "<|im_start|>"]), inspect_tokenizer(file).marks)
    if backend == "hf":
        return HfBackend(Tokenizer.from_file(str(file))), marks
    return FastokensBackend(file), marks


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150
)
@given(text=texts, chars_min=st.integers(0, 40))
def test_segments_have_the_tokens_of_the_whole(
    library_and_marks: tuple[TokenizerBackend, list[str]], text: str, chars_min: int
) -> None:
    library, marks = library_and_marks
    segments = cut(text, marks, chars_min)
    assert join(library.encode_each(segments)) == library.encode(text, add_special_tokens=False)


def test_every_family_with_added_tokens_has_marks_that_pass_the_self_check(
    library_and_marks: tuple[TokenizerBackend, list[str]],
) -> None:
    library, marks = library_and_marks
    assert 0 < len(marks) <= MARKS_MAX or library.token_id("</s>") is None
    assert cuts_agree(library, marks)


@given(text=texts, more=texts, chars_min=st.integers(0, 40))
def test_a_longer_text_has_the_segments_of_its_beginning(
    text: str, more: str, chars_min: int
) -> None:
    segments, longer = cut(text, MARKS, chars_min), cut(text + more, MARKS, chars_min)
    assert longer[: len(segments) - 1] == segments[:-1]
    assert all(len(segment) >= chars_min for segment in longer[:-1])


@dataclass(frozen=True)
class Added:
    content: str
    single_word: bool = False
    normalized: bool = False


@pytest.mark.parametrize(
    ("added", "safe"),
    [
        ([Added("<a>"), Added("<b>")], ["<a>", "<b>"]),
        (
            [
                Added("<a>", normalized=True),
                Added("<b>", single_word=True),
                Added(" <c>"),
                Added(""),
            ],
            [],
        ),
        # the longer one hides the shorter one, wherever it begins
        ([Added("<a>"), Added("<a><b>")], ["<a><b>"]),
        ([Added("<a>"), Added("x<")], ["x<"]),  # x<a> is x< and a>
        # ababa is aba and ba: where it occurs depends on where one begins to look
        ([Added("aba")], []),
        ([Added("<a>"), Added("x<", normalized=True)], []),
    ],
)
def test_only_marks_that_nothing_can_hide_are_safe(added: list[Added], safe: list[str]) -> None:
    assert safe_marks(added) == safe


def test_the_self_check_finds_a_tokenizer_whose_tokens_reach_over_a_mark() -> None:
    class Counting:
        def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
            return len(text).to_bytes(4, "little") * (1 + add_special_tokens + len(text))

    assert not cuts_agree(Counting(), ["<|im_end|>"])


def test_the_marks_taken_are_those_that_templates_write_most() -> None:
    assert marks_in("<a><b><a>", ["<a>", "<b>", "<c>"]) == ["<a>", "<b>"]
    assert (
        len(marks_in("".join(f"<{n}>" for n in range(99)), [f"<{n}>" for n in range(99)]))
        == MARKS_MAX
    )


def test_the_least_recently_used_goes_first_and_the_bound_holds() -> None:
    cache = SegmentCache(10_000)
    first, second = cache.new_owner(), cache.new_owner()
    for number in range(100):
        cache.keep(first, f"{number} " + "x" * 500, b"abcd" * 100)
        assert cache.find(first, ["0 " + "x" * 500]) == [b"abcd" * 100]
        assert cache.bytes_held <= cache.bytes_max
    assert cache.find(first, ["1 " + "x" * 500]) == [None]
    assert cache.find(second, ["0 " + "x" * 500]) == [None]
    cache.keep(first, "y" * 20_000, b"")
    assert cache.find(first, ["y" * 20_000, "0 " + "x" * 500]) == [None, b"abcd" * 100]


def test_what_is_cheap_is_kept_once_it_comes_again_and_not_too_late() -> None:
    cache = SegmentCache(10_000)
    owner, other = cache.new_owner(), cache.new_owner()
    chat = "x" * 2_000
    for _ in range(2):
        assert cache.find(owner, [chat]) == [None]
        cache.keep(owner, chat, b"abcd", at_once=False)
    assert cache.find(owner, [chat]) == [b"abcd"]
    assert cache.find(other, [chat]) == [None]
    for number in range(100):
        cache.keep(owner, f"{number} " + "y" * 2_000, b"abcd", at_once=False)
    assert cache.find(owner, [chat]) == [b"abcd"]  # none of those came again
    cache.keep(owner, "0 " + "y" * 2_000, b"abcd", at_once=False)
    assert cache.find(owner, ["0 " + "y" * 2_000]) == [None]  # not before many others had
    cache.keep(owner, "0 " + "y" * 2_000, b"abcd", at_once=False)
    assert cache.find(owner, ["0 " + "y" * 2_000]) == [b"abcd"]


def test_short_texts_huge_ones_and_a_cache_of_nothing_are_not_looked_up() -> None:
    cache = SegmentCache(10_000)
    assert [cache.takes("x" * chars) for chars in (10, SEGMENT_CHARS_MIN + 1, 1_000_001)] == [
        False,
        True,
        False,
    ]
    assert not SegmentCache(0).takes("x" * 5_000)
