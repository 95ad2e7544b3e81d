"""A model's path is checked before SGLang is imported for it: SGLang would take a wrong one for a
name on the hub.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from protocol.process.start_error import StartError

_LOCAL: Final = ("/", "./", "../", "~")
"""A path that can be no name on the hub begins with one of these."""

CONFIGURATIONS: Final = ("config.json", "params.json")
"""Hugging Face's and Mistral's configurations have these names; without either no directory is a
language model.
"""

PIPELINES: Final = ("model_index.json", "config.json")
"""The parts of a diffusion pipeline are listed under the first of these names; some pipelines are
known by their transformer's configuration alone.
"""


def check_model_path(given: str, configurations: Sequence[str] = CONFIGURATIONS) -> None:
    """Refuses a path where there is no model.

    A name on the hub, or an address, is SGLang's to judge.

    Args:
        configurations: names of files of which a model has one at least.
    Raises:
        StartError: nothing is there, or no model.
    """
    path = Path(given)
    if not given:
        return
    if not path.exists():
        if given.startswith(_LOCAL):
            raise StartError(
                f"--model-path {given}: there is nothing at this path{_unexpanded(given)}"
            )
        return
    if path.is_dir() and not any((path / name).is_file() for name in configurations):
        raise StartError(
            f"--model-path {given}: the directory is no model, as it has no "
            f"{configurations[0]}{_single_file(path)}"
        )


def _unexpanded(given: str) -> str:
    return " (no shell has expanded the ~)" if given.startswith("~") else ""


def _single_file(path: Path) -> str:
    name = min((file.name for file in path.glob("*.gguf")), default=None)
    return "" if name is None else f"; a GGUF model is named by its file: {path / name}"
