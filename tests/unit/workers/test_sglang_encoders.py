"""What sentence-transformers' files say about pooling."""

import json
from pathlib import Path
from typing import Any

import pytest

from protocol.process.start_error import StartError
from workers.sglang.pooling import pooling_of

MODULES = [
    {"type": "sentence_transformers.models.Transformer", "path": ""},
    {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
]


def _model(directory: Path, config: Any) -> str:
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(config))
    (directory / "modules.json").write_text(json.dumps(MODULES))
    return str(directory)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "MEAN"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "CLS"),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, "LAST"),
        ({"pooling_mode": "mean"}, "MEAN"),
    ],
)
def test_a_model_pools_as_its_files_say(tmp_path: Path, config: Any, pooling: str) -> None:
    assert pooling_of(_model(tmp_path, config), None) == pooling


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
    ],
)
def test_what_sglang_cannot_do_is_a_start_error(tmp_path: Path, config: Any) -> None:
    with pytest.raises(StartError, match="the model pools by"):
        pooling_of(_model(tmp_path, config), None)


def test_a_model_that_says_nothing_is_left_to_sglang(tmp_path: Path) -> None:
    assert pooling_of(str(tmp_path), None) is None
