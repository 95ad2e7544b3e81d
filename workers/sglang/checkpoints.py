"""The tensors of two checkpoints are compared, by the heads of their files.

SGLang 0.5.23 loads whatever it finds: of a checkpoint with smaller tensors or fewer layers it takes
what fits, says that it succeeded, and answers with a mixture of two models.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

_HEAD_BYTES_MAX: Final = 64 * 1024 * 1024
"""The head of a file has at most this many bytes; those of large models have some hundred
thousand.
"""

_NAMED_MAX: Final = 3
"""A difference names at most this many tensors; the others are counted."""

Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(directory: Path) -> Shapes:
    """Returns the shape of each tensor in a directory's safetensors files, by its name; nothing if
    there are none.

    Raises:
        OSError, ValueError: a file cannot be read, or is none of that kind.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(directory.glob("*.safetensors")):
        for name, tensor in _head(path).items():
            if name != "__metadata__":
                shapes[name] = tuple(tensor["shape"])
    return shapes


def difference(wanted: Shapes, found: Shapes) -> str:
    """Returns in words what of `wanted` is not in `found`; empty if nothing."""
    missing = [name for name in wanted if name not in found]
    if missing:
        return f"it lacks {_listed(missing)}"
    others = [name for name, shape in wanted.items() if found[name] != shape]
    if others:
        first = others[0]
        return (
            f"the shape of {_listed(others)} is another one: {list(found[first])} instead of "
            f"{list(wanted[first])}"
        )
    return ""


def _head(path: Path) -> dict[str, dict[str, list[int]]]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _HEAD_BYTES_MAX:
            raise ValueError(f"{path.name} is no safetensors file")
        head = json.loads(file.read(size))
    if not isinstance(head, dict):
        raise ValueError(f"{path.name} is no safetensors file")
    return cast("dict[str, dict[str, list[int]]]", head)


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
