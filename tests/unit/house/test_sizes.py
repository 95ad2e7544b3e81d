"""The house: files of one idea, functions of one screen, and words that must never appear."""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("protocol", "kv_events", "frontend", "workers")
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 70


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]


def test_files_hold_one_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _sources()
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    }
    assert long == {}


def test_functions_fit_a_screen() -> None:
    long: list[str] = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert long == []


def test_no_vague_module_names() -> None:
    assert {path.stem for path in _sources()}.isdisjoint(
        {"utils", "common", "helpers", "base", "manager", "misc"}
    )


def test_nothing_deserialises_code() -> None:
    banned = re.compile(r"recv_pyobj|send_pyobj|\bpickle\b|\beval\(|\bexec\(|yaml\.load\(")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in _sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if banned.search(line) and "banned-word" not in line
    ]
    assert found == []


def test_the_project_stands_alone() -> None:
    """No path of one machine and no host of a package registry in what git tracks."""
    words = [
        r"/wo" + r"rk/",
        r"\.libr" + r"ary/",
        r"\.\./sha" + r"red",
        "pythonhos" + "ted",
        "py" + r"pi\.org",
        r"registry\.npm" + "js",
    ]
    found = subprocess.run(
        ["git", "grep", "-nIE", "|".join(words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert found == ""
