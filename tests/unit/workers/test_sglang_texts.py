"""What a worker makes of tokens, whatever they are: the library's one-shot decode of them, told
piece by piece.
"""

from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from protocol.text.detokenizer import BYTE_RUN_MAX
from protocol.text.window import WINDOW_TOKENS_MAX
from tests.unit.text.conftest import BUILDERS
from workers.sglang.texts import TokenTexts


class Model:
    """A tokenizer as Transformers wraps it, and what is read by it."""

    def __init__(self, kind: str) -> None:
        self.fast: Tokenizer = BUILDERS[kind]()
        self.texts = TokenTexts(SimpleNamespace(backend_tokenizer=self.fast))
        self.bytes = [
            id_
            for byte in range(256)
            if (id_ := self.fast.token_to_id(f"<0x{byte:02X}>")) is not None
        ]
        self.special = [
            id_ for id_, token in self.fast.get_added_tokens_decoder().items() if token.special
        ]

    def read(self, ids: list[int], *, skip: bool) -> str:
        text = self.texts.new(skip_special_tokens=skip)
        return "".join([*(text.feed((id_,)) for id_ in ids), text.flush()])


@pytest.fixture(scope="module")
def models() -> dict[str, Model]:
    return {kind: Model(kind) for kind in BUILDERS}


@pytest.mark.parametrize("kind", BUILDERS)
@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_any_tokens_read_as_the_library_reads_them_at_once(
    models: dict[str, Model], kind: str, data: st.DataObject
) -> None:
    model = models[kind]
    any_id = st.integers(0, model.fast.get_vocab_size() + 7)
    favoured = st.sampled_from(model.bytes + model.special or [0])
    ids = data.draw(st.lists(st.one_of(any_id, favoured), max_size=BYTE_RUN_MAX - 1))
    skip = data.draw(st.booleans())
    assert model.read(ids, skip=skip) == model.fast.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_a_byte_that_spoils_the_one_before_it_is_read_and_nothing_is_lost(
    models: dict[str, Model], kind: str
) -> None:
    model = models[kind]
    ids = [model.fast.token_to_id(token) for token in ("<0x58>", "<0x98>", "▁", "<0xE2>", "▁")]
    assert model.read(ids, skip=True) == "\ufffd\ufffd \ufffd "


def test_tokens_without_text_are_not_gathered() -> None:
    """Or a stream of them would cost more with every token, on a loop that others share."""
    asked: list[int] = []

    class Slow:
        def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
            asked.append(len(ids))
            return "".join("" if id_ == 0 and skip_special_tokens else f"{id_} " for id_ in ids)

    text = TokenTexts(Slow()).new(skip_special_tokens=True)
    assert "".join(text.feed((id_,)) for id_ in [7, *[0] * 1_000, 8]) + text.flush() == "7 8 "
    assert max(asked) <= WINDOW_TOKENS_MAX + 2


def test_tokens_that_change_what_was_told_are_read_by_themselves() -> None:
    class Tidying:
        """Takes the space before "n't" away, as some tokenizers do."""

        def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
            words = {1: "do", 2: " n", 3: "'t", 4: " so"}
            return "".join(words[id_] for id_ in ids).replace(" n't", "n't")

    text = TokenTexts(Tidying()).new(skip_special_tokens=True)
    assert [text.feed((id_,)) for id_ in (1, 2, 3, 4)] == ["do", " n", "'t", " so"]
