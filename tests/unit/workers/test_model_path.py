"""A model's path that is none is said at once, without an engine; everything else is left to
SGLang.
"""

from pathlib import Path

import pytest

from protocol.process.start_error import StartError
from workers import app as run
from workers.process.model_path import check_model_path


def test_what_is_a_model_or_may_be_one_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qwen").mkdir()
    (tmp_path / "qwen" / "config.json").write_text("{}")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    monkeypatch.chdir(tmp_path)
    for given in (
        str(tmp_path / "qwen"),
        "qwen",
        "./qwen",
        str(tmp_path / "a.gguf"),
        "Qwen/Qwen3-0.6B",
        "s3://bucket/model",
        "",
    ):
        check_model_path(given)


@pytest.mark.parametrize("given", ["/nowhere/model", "./nowhere", "../nowhere", "~/nowhere"])
def test_a_path_that_does_not_exist_is_no_name_on_the_hub(given: str) -> None:
    with pytest.raises(StartError, match=f"--model-path {given}: there is nothing at this path"):
        check_model_path(given)


def test_a_directory_without_a_configuration_is_no_model_and_a_gguf_file_in_it_is_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(StartError, match=r"the directory is no model, as it has no config\.json$"):
        check_model_path(str(tmp_path))
    (tmp_path / "b.gguf").touch()
    (tmp_path / "a.gguf").touch()
    with pytest.raises(StartError, match=f"a GGUF model is named by its file: {tmp_path}/a.gguf"):
        check_model_path(str(tmp_path))


def test_the_worker_says_so_in_one_line_and_imports_no_engine_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        run.run(["--frontend", "tcp://127.0.0.1:1", "--model-path", "/nowhere/model", "--tp", "2"])
        == 3
    )
    assert capsys.readouterr().err == (
        "kvmesh worker cannot start: --model-path /nowhere/model: there is nothing at this path\n"
    )
