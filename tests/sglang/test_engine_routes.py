"""What is said of the engine's routes is what they are, and what is compared is what differs."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from workers.sglang.checkpoints import difference, shapes_of

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(200)]
PAGE = Path(__file__).parents[2] / "docs" / "engine_routes.md"


def test_the_page_is_made_of_the_tables(python: Any) -> None:
    done = python("-m", "workers.sglang.route_document")
    assert done.returncode == 0, done.stderr
    assert done.stdout == PAGE.read_text()


def _write(path: Path, shapes: dict[str, list[int]]) -> None:
    head = json.dumps({name: {"shape": shape} for name, shape in shapes.items()}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head)


def test_checkpoints_are_compared_over_all_of_their_files(tmp_path: Path) -> None:
    _write(tmp_path / "a.safetensors", {"x": [2, 3], "__metadata__": []})
    _write(tmp_path / "b.safetensors", {"y": [4]})
    found = shapes_of(tmp_path)
    assert found == {"x": (2, 3), "y": (4,)}
    assert difference({"x": (2, 3)}, found) == ""
    assert difference({"x": (3, 2)}, found) == (
        "the shape of x is another one: [2, 3] instead of [3, 2]"
    )
    lacking = dict.fromkeys("abcde", (1,))
    assert difference(lacking, found) == "it lacks a, b, c and 2 more"


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, struct.pack("<Q", 2) + b"[]"])
def test_what_is_no_checkpoint_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError):  # noqa: PT011 - of JSON, or of ours
        shapes_of(tmp_path)
