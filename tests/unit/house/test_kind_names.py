"""What a type of worker is stands in one record, and what a service is for in one table: nobody
else asks for their names.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import pytest

from protocol.membership import Service, Stage
from workers.kinds.registry import KINDS

ROOT: Final = Path(__file__).parents[3]
HOMES: Final = ("workers/kinds/", "frontend/models/services.py", "frontend/fleet/model_entry.py")
"""The last one groups workers by their stage, whatever stages there are."""
NAMES: Final = {*get_args(Service), *get_args(Stage), *(kind.name for kind in KINDS), "follower"}

SUBJECTS: Final = {"service", "stage", "role"}


def _called(node: ast.AST) -> str:
    """What a variable, an attribute or an item of JSON is called."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return ""


def _names(node: ast.AST) -> bool:
    return any(_is_name(part) for part in ast.walk(node))


def _is_name(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value in NAMES


def _defaults(arguments: ast.arguments) -> Iterator[tuple[str, ast.expr]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    for given, default in zip(reversed(positional), reversed(arguments.defaults), strict=False):
        yield given.arg, default
    for given, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        if default is not None:
            yield given.arg, default


def _asks(node: ast.AST) -> bool:
    """Whether a piece of source decides something by the literal name of a kind, or makes one."""
    match node:
        case ast.Compare():
            sides = [node.left, *node.comparators]
            return any(_called(side) in SUBJECTS for side in sides) and any(map(_names, sides))
        case ast.Match():
            return _called(node.subject) in SUBJECTS and any(map(_names, node.cases))
        case ast.Dict():  # a table by name
            return sum(map(_is_name, node.keys)) > 1
        case ast.Subscript():  # a look-up in one
            return _called(node.slice) in SUBJECTS and not isinstance(node.slice, ast.Constant)
        case ast.AnnAssign(value=ast.expr() as value):
            return _called(node.target) in SUBJECTS and _names(value)
        case ast.Assign():
            targets = [part for target in node.targets for part in ast.walk(target)]
            return any(_called(part) in SUBJECTS for part in targets) and _names(node.value)
        case ast.keyword(arg=str(name)):
            return name in SUBJECTS and _names(node.value)
        case ast.FunctionDef(args=given) | ast.AsyncFunctionDef(args=given):
            return any(name in SUBJECTS and _names(value) for name, value in _defaults(given))
        case _:
            return False


def _found(source: str) -> list[int]:
    return [getattr(node, "lineno", 0) for node in ast.walk(ast.parse(source)) if _asks(node)]


@pytest.mark.parametrize("package", ["frontend", "workers"])
def test_nobody_asks_for_the_name_of_a_kind(package: str) -> None:
    paths = [
        path
        for path in sorted((ROOT / package).rglob("*.py"))
        if not path.relative_to(ROOT).as_posix().startswith(HOMES)
    ]
    assert len(paths) > 20
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in paths for line in _found(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'if facts.service == "embedding": pass',
        'if "text" != entry.service: pass',
        'if worker["stage"] in ("prefill", "decode"): pass',
        'match hello.service:\n    case "images" | "videos": pass',
        'OF = {"text": 1, "embedding": 2}',
        "made = OF[facts.service]",
        'service: Service = "text" if generates else "embedding"',
        'service = "text" if generates else "embedding"',
        'nvext, service = (None, "embedding") if pooled else (1, "text")',
        'Hello(service="text")',
        'def model(name, service="text"): pass',
        'def model(name, *, stage="decode"): pass',
    ],
)
def test_whoever_asks_is_found(source: str) -> None:
    assert _found(source)
