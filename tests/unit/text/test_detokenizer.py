"""Incremental detokenizing against the reference library's one-shot decode."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HfTokenizer

from frontend.text.tokenizing.inspection import inspect_tokenizer
from protocol.text.detokenizer import BYTE_RUN_MAX, Detokenizer, Detokenizing

KINDS = {
    "byte_level": "byte_level",
    "llama": "sentencepiece",
    "gemma": "sentencepiece",
    "word_piece": "window",
}
TEXTS = [
    "Hello 🎉🎊 world — 中文, 日本語 <|im_end|> and русский",
    "👩‍👩‍👧‍👦🏳️‍🌈🇩🇪 ༼ つ ◕_◕ ༽つ \U0001f9ff",
    "  leading  spaces\n\n\tand tabs   ",
    "<s>[x]</s><|im_start|>user<think>é",
]


class Model:
    """A tokenizer and what was worked out for it."""

    def __init__(self, file: Path) -> None:
        inspection = inspect_tokenizer(file)
        self.reference = HfTokenizer.from_file(str(file))
        self.kind, self.vocab_size = inspection.pieces.kind, inspection.vocab_size
        self.byte_ids = sorted(inspection.pieces.byte_ids) or [
            self.reference.token_to_id(char) for char in "ðŁİīé" if self.kind == "byte_level"
        ]
        self.special_ids = inspection.pieces.special_ids
        self.detokenizing = Detokenizing(
            inspection.pieces,
            lambda ids, skip: self.reference.decode(ids, skip_special_tokens=skip),
        )

    def ids(self) -> st.SearchStrategy[list[int]]:
        """Ids with many byte pieces, special and unknown ones among them."""
        any_id = st.integers(0, self.vocab_size - 1)
        favoured = st.sampled_from([*self.byte_ids, *self.special_ids] or [0])
        text_ids = st.sampled_from(
            [self.reference.encode(text, add_special_tokens=False).ids for text in TEXTS]
        )
        mixed = st.lists(
            st.one_of(any_id, favoured, favoured, st.just(self.vocab_size + 7)),
            max_size=BYTE_RUN_MAX - 1,
        )
        return st.one_of(mixed, text_ids)


@pytest.fixture(scope="module")
def made(tokenizer_files: dict[str, Path]) -> dict[str, Model]:
    return {kind: Model(tokenizer_files[kind]) for kind in KINDS}


def stream(detokenizer: Detokenizer, ids: list[int], bursts: list[int]) -> str:
    text, start = "", 0
    for burst in [*bursts, len(ids)]:
        text += detokenizer.feed(ids[start : start + burst])
        start += burst
    return text + detokenizer.flush()


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_each_family_is_recognised(made: dict[str, Model], name: str, kind: str) -> None:
    assert made[name].kind == kind


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind != "window"])
@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_a_stream_in_any_bursts_equals_the_one_shot_decode(
    made: dict[str, Model], name: str, data: st.DataObject
) -> None:
    model = made[name]
    ids = data.draw(model.ids())
    bursts = data.draw(st.lists(st.integers(0, 5), max_size=40))
    skip = data.draw(st.booleans())
    wanted = model.reference.decode(ids, skip_special_tokens=skip)
    assert stream(model.detokenizing.new(skip_special_tokens=skip), ids, bursts) == wanted
    assert stream(model.detokenizing.new(skip_special_tokens=skip), ids, [1] * len(ids)) == wanted
    assert model.detokenizing.decode(ids, skip_special_tokens=skip) == wanted


@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_a_stream_without_a_table_equals_the_one_shot_decode(
    made: dict[str, Model], data: st.DataObject
) -> None:
    model = made["word_piece"]
    ids = data.draw(st.lists(st.integers(0, model.vocab_size - 1), max_size=40))
    bursts = data.draw(st.lists(st.integers(0, 5), max_size=40))
    assert stream(
        model.detokenizing.new(skip_special_tokens=False), ids, bursts
    ) == model.reference.decode(ids, skip_special_tokens=False)


@pytest.mark.parametrize("name", ["byte_level", "llama", "gemma"])
def test_an_unfinished_character_is_held_back_and_flushed_as_a_replacement(
    made: dict[str, Model], name: str
) -> None:
    model = made[name]
    ids = model.reference.encode("\U0001fae8", add_special_tokens=False).ids
    assert len(ids) >= 3
    detokenizer = model.detokenizing.new(skip_special_tokens=True)
    shown = "".join(detokenizer.feed([id_]) for id_ in ids[:-1])
    assert "\ufffd" not in shown
    assert shown.strip() == ""
    rest = detokenizer.flush()
    assert rest.strip("\ufffd") == ""
    assert rest


def test_a_long_run_of_byte_tokens_is_not_held_back_to_its_end(made: dict[str, Model]) -> None:
    model = made["llama"]
    ids = [model.reference.token_to_id(f"<0x{byte:02X}>") for byte in ("བོད་ཡིག" * 20).encode()]
    detokenizer = model.detokenizing.new(skip_special_tokens=True)
    shown = "".join(detokenizer.feed([id_]) for id_ in ids)
    assert len("བོད་ཡིག" * 20) - len(shown) <= BYTE_RUN_MAX // 3
    assert shown + detokenizer.flush() == "བོད་ཡིག" * 20


def test_an_overlong_run_gone_bad_ends_in_replacements(made: dict[str, Model]) -> None:
    model = made["llama"]
    byte = [model.reference.token_to_id(f"<0x{value:02X}>") for value in range(256)]
    bad_early = [byte[0xFF]] + [byte[0x41]] * (BYTE_RUN_MAX * 2)
    assert model.detokenizing.decode(bad_early, skip_special_tokens=True) == model.reference.decode(
        bad_early
    )
    bad_late = [byte[0x41]] * BYTE_RUN_MAX + [byte[0xFF], byte[0x41]]
    assert (
        model.detokenizing.decode(bad_late, skip_special_tokens=True)
        == "A" * BYTE_RUN_MAX + "\ufffd" * 2
    )


@pytest.mark.parametrize("name", ["byte_level", "llama", "gemma"])
def test_the_bytes_of_tokens_together_are_those_of_the_text(
    made: dict[str, Model], name: str
) -> None:
    model = made[name]
    ids = model.reference.encode("naïve 🎉 \U0001fae8 text", add_special_tokens=False).ids
    assert (
        b"".join(map(model.detokenizing.token_bytes, ids)).decode().strip()
        == "naïve 🎉 \U0001fae8 text"
    )
    assert model.detokenizing.token_bytes(model.vocab_size + 1) == b""
