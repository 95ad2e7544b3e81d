"""One file may configure the workers of several kinds, a section each; a worker takes its own."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import yaml

from protocol.process.flags import dashed as dashed_name
from protocol.process.flags import value_under
from protocol.process.own_directory import process_directory
from protocol.process.start_error import StartError
from workers.process.failure_note import one_line

Section = Mapping[str, Any]
"""A Section is what a file says under one of its keys: arguments of an engine by their names,
without dashes in front.
"""


def read_section(file: str, key: str) -> Section:
    """Returns what a YAML file says under a key.

    Raises:
        StartError: the file cannot be read, is no mapping or lacks the key, or there is no mapping
        under it.
    """
    try:
        content: Any = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(f"--disagg-config {file}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise StartError(f"--disagg-config {file} is no YAML: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise StartError(f"--disagg-config {file} is no mapping of keys to sections")
    sections = {str(name): part for name, part in cast("dict[Any, Any]", content).items()}
    if key not in sections:
        raise StartError(
            f"--disagg-config {file} has no key {key!r}; it has: {', '.join(sections) or 'none'}"
        )
    section = sections[key]
    if not isinstance(section, dict):
        raise StartError(f"--disagg-config {file}: under {key!r} is no mapping of arguments")
    return {str(name): value for name, value in cast("dict[Any, Any]", section).items()}


def says(section: Section, *flags: str) -> str | None:
    """Returns what a section says of one of these flags, with dashes or underscores in its name;
    None where it says nothing.
    """
    value = value_under(section, *flags)
    return None if value is None else str(value)


@contextmanager
def section_file(section: Section, *, dashed: bool = False) -> Generator[str]:
    """Yields the name of a YAML file with the section, and removes the file at the end.

    It is where no other user can read it, since a section may hold what is secret.

    Args:
        dashed: the reader knows no underscores in names.
    """
    written = {dashed_name(name) if dashed else name: value for name, value in section.items()}
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=process_directory(), prefix="section-", suffix=".yaml"
    ) as file:
        yaml.safe_dump(written, file, sort_keys=False)  # pyright: ignore[reportUnknownMemberType]
        file.flush()
        yield file.name
