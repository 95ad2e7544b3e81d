import json
from pathlib import Path
from typing import Any

import pytest

from protocol.process.start_error import StartError
from workers.sim.vocabulary import read_word_ids


def tokenizer(directory: Path, vocab: Any, added: list[dict[str, Any]] | None = None) -> Path:
    path = directory / "tokenizer.json"
    path.write_text(
        json.dumps({"model": {"vocab": vocab}, "added_tokens": added or []}), encoding="utf-8"
    )
    return path


def words(prefix: str) -> list[str]:
    return [
        prefix + first + second + third
        for first in "bdgk"
        for second in "aeiou"
        for third in "lmnr"
    ]


def test_words_that_carry_their_space_are_preferred(tmp_path: Path) -> None:
    vocab = {piece: number for number, piece in enumerate(["<s>", "x!", *words("Ġ"), *words("")])}
    path = tokenizer(tmp_path, vocab)
    assert read_word_ids(path, vocab_size=0, kind="words", excluded=()) == list(range(2, 82))


def test_a_unigram_vocabulary_is_a_list_of_pieces_with_scores(tmp_path: Path) -> None:
    path = tokenizer(tmp_path, [[piece, -1.0] for piece in ["<unk>", *words("▁")]])
    assert read_word_ids(path, vocab_size=0, kind="words", excluded=()) == list(range(1, 81))


def test_a_vocabulary_without_words_is_used_as_it_is_except_for_special_and_excluded_ids(
    tmp_path: Path,
) -> None:
    path = tokenizer(
        tmp_path, {"a": 0, "<end>": 1, "b": 2, "c": 3, "d": 9}, [{"id": 1, "content": "<end>"}]
    )
    assert read_word_ids(path, vocab_size=5, kind="words", excluded=[2]) == [0, 3]


def test_any_takes_every_plain_id(tmp_path: Path) -> None:
    vocab = {piece: number for number, piece in enumerate(["é", "!", *words("Ġ")])}
    assert read_word_ids(tokenizer(tmp_path, vocab), vocab_size=0, kind="any", excluded=()) == list(
        range(82)
    )


@pytest.mark.parametrize(
    "content", ["", "[]", '{"model": {}}', '{"model": {"vocab": {"a": 0}}, "added_tokens": [{}]}']
)
def test_a_file_that_is_no_tokenizer_is_a_start_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(StartError, match="no tokenizer"):
        read_word_ids(path, vocab_size=0, kind="words", excluded=())


def test_a_vocabulary_with_nothing_left_is_a_start_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no plain token"):
        read_word_ids(tokenizer(tmp_path, {"a": 7}), vocab_size=7, kind="any", excluded=())
