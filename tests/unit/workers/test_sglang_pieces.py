"""Tables of what ids are worth, of tokenizers as transformers hands them to SGLang."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer

from protocol.text.detokenizer import Detokenizing
from tests.unit.text.conftest import BUILDERS
from workers.demo_model import demo_model_dir
from workers.sglang.pieces import piece_table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEXT = "The lazy dog: Größe café 中文 🎉 12345\n\n\tdef x"


@pytest.fixture(params=["demo", "byte_level", "llama", "gemma"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415  # not at collection

    if request.param == "demo":
        return PreTrainedTokenizerFast(
            tokenizer_file=str(demo_model_dir() / "tokenizer.json"), eos_token="<|im_end|>"
        )
    BUILDERS[request.param]().save(str(tmp_path / "tokenizer.json"))
    return PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="</s>"
    )


def _detokenizing(tokenizer: "PreTrainedTokenizerFast") -> Detokenizing:
    def no_window(_ids: list[int], _skip: bool) -> str:
        raise AssertionError

    return Detokenizing(piece_table(tokenizer, len(tokenizer) + 7), no_window)


def test_text_comes_back_and_the_bytes_of_its_tokens_are_its_bytes(
    tokenizer: "PreTrainedTokenizerFast",
) -> None:
    detokenizing = _detokenizing(tokenizer)
    ids = tokenizer.encode(TEXT, add_special_tokens=False)
    wanted = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert detokenizing.decode(ids, skip_special_tokens=False).removeprefix(
        " "
    ) == wanted.removeprefix(" ")
    assert b"".join(map(detokenizing.token_bytes, ids)).decode().removeprefix(
        " "
    ) == wanted.removeprefix(" ")


def test_special_tokens_can_be_skipped_and_unknown_ids_are_worth_nothing(
    tokenizer: "PreTrainedTokenizerFast",
) -> None:
    detokenizing = _detokenizing(tokenizer)
    end = tokenizer.eos_token_id
    assert detokenizing.decode([end], skip_special_tokens=True) == ""
    assert detokenizing.decode([end], skip_special_tokens=False) == tokenizer.eos_token
    assert detokenizing.token_bytes(len(tokenizer) + 3) == b""


def test_tokens_of_an_unknown_family_are_worth_what_each_decodes_to(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415  # not at collection

    built: Tokenizer = BUILDERS["word_piece"]()
    built.save(str(tmp_path / "tokenizer.json"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"), unk_token="[UNK]"
    )
    detokenizing = _detokenizing(tokenizer)
    ids = tokenizer.encode("lower lowest", add_special_tokens=False)
    assert [detokenizing.token_bytes(token_id).decode() for token_id in ids] == [
        tokenizer.decode([token_id]) for token_id in ids
    ]
