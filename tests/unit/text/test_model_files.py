"""What is read off a model's files."""

import json
from pathlib import Path
from typing import Any

import pytest

from frontend.text.templates.model_files import ModelFiles, read_model_files
from frontend.text.tokenizing.inspection import TokenizerUnusable


def write(folder: Path, **contents: Any) -> dict[str, Path]:
    """Files by name, a double underscore standing for the dot."""
    files = {}
    for key, content in contents.items():
        name = key.replace("__", ".")
        files[name] = folder / name
        files[name].write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
    return files


def test_no_files_are_a_model_without_a_template() -> None:
    assert read_model_files({}) == ModelFiles(
        chat_templates={}, special_tokens={}, eos_token_ids=[], add_bos_token=None
    )


def test_everything_is_found_in_its_usual_place(tmp_path: Path) -> None:
    files = write(
        tmp_path,
        tokenizer_config__json={
            "chat_template": "from config 🎉",
            "bos_token": {"content": "<s>", "lstrip": False},
            "eos_token": "</s>",
            "unk_token": None,
            "add_bos_token": False,
        },
        special_tokens_map__json={"eos_token": "<old>", "pad_token": {"content": "<pad>"}},
        generation_config__json={"eos_token_id": [2, 7]},
        config__json={"eos_token_id": 3},
    )
    read = read_model_files(files)
    assert read.chat_templates == {"default": "from config 🎉"}
    assert read.special_tokens == {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    assert read.eos_token_ids == [2, 7]
    assert read.add_bos_token is False


def test_a_template_of_its_own_file_goes_before_the_config_and_an_override_before_all(
    tmp_path: Path,
) -> None:
    files = write(tmp_path, tokenizer_config__json={"chat_template": "c"})
    assert read_model_files(files).chat_templates == {"default": "c"}
    files |= write(tmp_path, chat_template__json={"chat_template": "j"})
    assert read_model_files(files).chat_templates == {"default": "j"}
    files |= write(tmp_path, chat_template__jinja="f")
    assert read_model_files(files).chat_templates == {"default": "f"}
    files |= write(tmp_path, mine__jinja="m")
    assert read_model_files(files, chat_template_file="mine.jinja").chat_templates == {
        "default": "m"
    }


@pytest.mark.parametrize(
    "entry",
    [
        [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}],
        {"default": "d", "tool_use": "t"},
    ],
)
def test_several_templates_keep_their_names(tmp_path: Path, entry: Any) -> None:
    files = write(tmp_path, tokenizer_config__json={"chat_template": entry})
    assert read_model_files(files).chat_templates == {"default": "d", "tool_use": "t"}


@pytest.mark.parametrize(
    ("config", "eos_ids"),
    [
        ({"eos_token_id": 5}, [5]),
        ({"text_config": {"eos_token_id": [6, 7]}, "eos_token_id": 1}, [6, 7]),
        ({"eos_token_id": None}, []),
        ({"eos_token_id": "x"}, []),
    ],
)
def test_ends_of_generation_come_from_the_model_config_without_a_generation_config(
    tmp_path: Path, config: Any, eos_ids: list[int]
) -> None:
    assert read_model_files(write(tmp_path, config__json=config)).eos_token_ids == eos_ids


@pytest.mark.parametrize(
    ("name", "content"),
    [("tokenizer_config__json", "{"), ("config__json", "[1]"), ("chat_template__json", "\x00")],
)
def test_a_broken_file_is_named_without_its_path(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(TokenizerUnusable) as refused:
        read_model_files(write(tmp_path, **{name: content}))
    assert name.replace("__", ".") in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_a_template_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "chat_template.jinja"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TokenizerUnusable, match=r"chat_template\.jinja"):
        read_model_files({file.name: file})
    with pytest.raises(TokenizerUnusable, match=r"absent\.jinja"):
        read_model_files({}, chat_template_file="absent.jinja")
