"""What documents name, and what there is: text in, names out."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Final

from frontend.settings import FrontendSettings
from tests.kit.dynamo_page import PAGE as DYNAMO_PAGE
from workers.settings import WorkerSettings
from workers.sim.settings import SimSettings

ROOT: Final = Path(__file__).parents[3]

MADE: Final = (
    "conformance/PARAMETERS.md",
    "docs/errors.md",
    "docs/series.md",
    "docs/settings.md",
    "docs/sglang_seam.md",
)
"""Made from code, which is checked itself."""

SETTINGS: Final = (FrontendSettings, WorkerSettings, SimSettings)

_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`([^`\n]+)`")
_PATH: Final = re.compile(r"(?<![\w./-])[\w.-]+(?:/[\w.<>*-]+)+/?")
_FILE: Final = re.compile(r"[\w.-]+\.(?:py|md|ya?ml|json|toml|sh|c|h|png|txt|jinja)")
_MODULE: Final = re.compile(r"python -m ([a-z_]+(?:\.[a-z_]+)*)")
_FLAG: Final = re.compile(r"(?<![\w-])--(?:[a-z][a-z0-9]*-?)+\*?")
_VARIABLE: Final = re.compile(r"(?<![\w])_?(?:KVMESH|DYN|SGLANG|NCCL|ANTHROPIC)_[A-Z0-9_]+\*?")
_NAME: Final = re.compile(r"[A-Z][a-z0-9]+(?:[A-Z][a-zA-Z0-9]*)+(?:\.[a-z_]+)?")


@dataclass(frozen=True)
class Named:
    """A name, and the document that says it."""

    document: str
    name: str

    def __str__(self) -> str:
        return f"{self.document} names {self.name}"


@cache
def tracked() -> frozenset[str]:
    """All files of the tree, relative to its root, those that are not committed yet among them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return frozenset(path for path in listed.splitlines() if (ROOT / path).exists())


@cache
def folders() -> frozenset[str]:
    """All folders that have a file somewhere below."""
    return frozenset(
        str(folder) for path in tracked() for folder in Path(path).parents if str(folder) != "."
    )


@cache
def sources() -> str:
    """All Python and C of the tree, one text; documents' own checks left out."""
    return "\n".join(
        (ROOT / path).read_text()
        for path in sorted(tracked())
        if path.endswith((".py", ".c", ".h")) and not path.startswith("tests/unit/house/")
    )


@cache
def documents() -> dict[str, str]:
    """Path → text of all that people write; without the names that others have for things."""
    found = {
        path: (ROOT / path).read_text()
        for path in sorted(tracked())
        if path.endswith(".md") and path not in MADE
    }
    theirs = str(DYNAMO_PAGE.relative_to(ROOT))
    return found | {theirs: re.sub(r"^\|.*?\|", "|", found[theirs], flags=re.MULTILINE)}


@cache
def declared_flags() -> frozenset[str]:
    """All flags of our programs."""
    declared = r"(?:add_argument\(\s*|strcmp\(name, )\"(--[a-z0-9-]+)\""  # in Python, and in C
    return flags_of_settings() | set(re.findall(declared, sources()))


@cache
def flags_of_settings() -> frozenset[str]:
    """Those of frontends and workers alone."""
    flags: set[str] = set()
    for kind in SETTINGS:
        for field in fields(kind):
            flag = field.metadata["flag"] or "--" + field.name.replace("_", "-")
            flags |= {flag, "--no-" + flag[2:]} if isinstance(field.default, bool) else {flag}
    return frozenset(flags)


@cache
def declared_variables() -> frozenset[str]:
    """All environment variables of our settings."""
    return frozenset(
        name
        for kind in SETTINGS
        for field in fields(kind)
        for name in (field.metadata["env"], field.metadata["also_env"])
        if name
    )


def links() -> Iterator[Named]:
    """Targets of links that stay in the tree."""
    for document, text in documents().items():
        for target in _LINK.findall(text):
            if "://" not in target:
                yield Named(document, target)


def paths() -> Iterator[Named]:
    """Whatever begins as a folder of the tree does, in code or not."""
    tops = {folder for folder in folders() if "/" not in folder}
    for document, text in documents().items():
        for path in _PATH.findall(_LINK.sub("", text)):
            if path.split("/")[0] in tops:
                yield Named(document, path.rstrip("/.,:"))


def files() -> Iterator[Named]:
    """Names of files without a folder, in code."""
    for document, text in documents().items():
        for code in _CODE.findall(text):
            if _FILE.fullmatch(code):
                yield Named(document, code)


def modules() -> Iterator[Named]:
    """What `python -m` is to run."""
    for document, text in documents().items():
        for module in _MODULE.findall(text):
            yield Named(document, module)


def flags() -> Iterator[Named]:
    """Flags; a `*` at the end stands for all that begin so."""
    for document, text in documents().items():
        for flag in _FLAG.findall(text):
            yield Named(document, flag)


def variables() -> Iterator[Named]:
    """Environment variables; a `*` at the end stands for all that begin so."""
    for document, text in documents().items():
        for variable in _VARIABLE.findall(text):
            yield Named(document, variable)


def names_of_code() -> Iterator[Named]:
    """Classes, and attributes of classes, in code spans."""
    for document, text in documents().items():
        for code in _CODE.findall(text):
            if _NAME.fullmatch(code):
                yield Named(document, code)


def anchors(path: str) -> set[str]:
    """The anchors that a document's headings have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(text: str) -> Iterator[str]:
    """The lines of a document that are neither code nor a row of a table."""
    for number, part in enumerate(re.split(r"^```.*$", text, flags=re.MULTILINE)):
        if number % 2 == 0:
            yield from (line for line in part.splitlines() if not line.startswith("|"))
