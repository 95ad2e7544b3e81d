"""What kvmesh relies on in SGLang is named, and the page that says so is the list's."""

import ast
from pathlib import Path

from workers.sglang.seam.checks import RELIED_ON
from workers.sglang.seam.document import document

ROOT = Path(__file__).parents[3]
SGLANG = ROOT / "workers" / "sglang"
NOT_SGLANGS = {"_exit", "_actions", "_option_string_actions", "_make_mock", "_cdiv"}
"""Of the standard library, and of the stub of triton, which is taken as a file of its own."""


def _private_names(path: Path) -> set[str]:
    """Private names of other objects that a file takes or sets."""
    tree = ast.parse(path.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
    used: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        if not node.attr.startswith("__") and not of_self:
            used.add(node.attr)
    return used - own - NOT_SGLANGS


def test_every_private_name_of_sglang_is_in_the_list() -> None:
    named = " ".join(
        f"{relied.name} {' '.join(relied.says)} {' '.join(relied.fields)}" for relied in RELIED_ON
    )
    unnamed = {
        f"{path.relative_to(SGLANG)}: {name}"
        for path in SGLANG.rglob("*.py")
        if "cpu" not in path.parts
        for name in _private_names(path)
        if name not in named
    }
    assert unnamed == set()


def test_who_relies_on_what_exists() -> None:
    assert {relied.used_in for relied in RELIED_ON if not (SGLANG / relied.used_in).is_file()} == (
        set()
    )


def test_the_page_is_made_of_the_list() -> None:
    assert (ROOT / "docs" / "sglang_seam.md").read_text() == document()
