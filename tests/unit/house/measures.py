"""Measures the house: `python -m tests.unit.house.measures [ROOT]`.

Files, lines, the longest file and function, lines over 100 columns, and imports: arrows between
files and between folders, and the circles among either. ROOT is another checkout to compare with.

A folder is what lies in it, folders too: `frontend/api` uses all that its dialects use. What lies
directly in a folder that has others (its composition root, a Protocol that all of them keep) is no
room of its own, and a folder that uses the one and is used by the other makes no circle.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGES = ("protocol", "kv_events", "frontend", "workers")
COLUMNS_MAX = 100

Arrows = Mapping[str, set[str]]


def sources(root: Path) -> list[Path]:
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[int, str]]:
    """Lines and name of each function of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.end_lineno - node.lineno + 1, f"{path.name}:{node.lineno} {node.name}"


def arrows_of(root: Path) -> Arrows:
    """Module → modules of the four packages that it imports, inside functions too."""
    names = {_module(path.relative_to(root)): path for path in sources(root)}
    arrows: dict[str, set[str]] = defaultdict(set)
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text())):
            for wanted in _imported(node):
                found = wanted if wanted in names else wanted.rpartition(".")[0]
                if found in names and found != name:
                    arrows[name].add(found)
    return arrows


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def between_folders(arrows: Arrows) -> Arrows:
    """Those that leave a folder, as folder → folders."""
    folders: dict[str, set[str]] = defaultdict(set)
    for source, targets in arrows.items():
        own = source.rpartition(".")[0]
        folders[own] |= {target.rpartition(".")[0] for target in targets} - {own}
    return folders


def between_neighbours(arrows: Arrows) -> Arrows:
    """File or folder → those that it uses of the folder that both lie in directly.

    A folder stands for all that lies in it. What a package itself holds is its file `__init__`.
    """
    names = set(arrows).union(*arrows.values())
    packages = {name[:at] for name in names for at, letter in enumerate(name) if letter == "."}
    neighbours: dict[str, set[str]] = defaultdict(set)
    for source, targets in arrows.items():
        for target in targets:
            way, other = (
                f"{name}.__init__".split(".") if name in packages else name.split(".")
                for name in (source, target)
            )
            at = next(at for at, (a, b) in enumerate(zip(way, other, strict=False)) if a != b)
            neighbours[".".join(way[: at + 1])].add(".".join(other[: at + 1]))
    return neighbours


def circles(arrows: Arrows) -> list[list[str]]:
    """Names that reach each other, by Tarjan's algorithm; none stands alone."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for target in sorted(arrows.get(name, ())):
            if target not in number:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], number[target])
        if low[name] == number[name]:
            at = stack.index(name)
            circle = stack[at:]
            del stack[at:]
            if len(circle) > 1:
                found.append(sorted(circle))

    for name in sorted(arrows):
        if name not in number:
            visit(name)
    return found


def measures(root: Path) -> dict[str, object]:
    texts = {path: path.read_text().splitlines() for path in sources(root)}
    arrows = arrows_of(root)
    longest = max(texts, key=lambda path: len(texts[path]))
    return {
        "files": len(texts),
        "lines": sum(map(len, texts.values())),
        "longest file": f"{len(texts[longest])} {longest.relative_to(root)}",
        "files over 300 lines": sum(len(lines) > 300 for lines in texts.values()),
        "longest function": " ".join(map(str, max(f for path in texts for f in functions(path)))),
        f"lines over {COLUMNS_MAX} columns": sum(
            len(line) > COLUMNS_MAX for lines in texts.values() for line in lines
        ),
        "arrows between files": sum(map(len, arrows.values())),
        "arrows between folders": sum(map(len, between_folders(arrows).values())),
        "circles of files": circles(arrows),
        "circles of folders": circles(between_neighbours(arrows)),
    }


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    for what, value in measures(Path(*sys.argv[1:2])).items():
        print(f"{what:24} {value}")
