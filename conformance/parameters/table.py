"""PARAMETERS.md: what came of each parameter."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

VALUE_CHARS_MAX: Final = 48

HEAD: Final = """# OpenAI's parameters

Written by `make conformance ARGS="--write --only parameters"` from requests to a stack with the demo model; `make conformance` fails where it no longer holds.
The names are those of the `openai` client. *Without effect* is what is taken and changes nothing, as said beside it; *ignored* is what the answer's header x-kvmesh-ignored names.
"""  # noqa: E501 - Markdown


class Row(NamedTuple):
    """A parameter, the value that was sent, and what came of it."""

    name: str
    value: Any
    outcome: str


def written(rows: Mapping[str, Sequence[Row]]) -> str:
    """The file's text, a table for each path."""
    parts = [HEAD]
    for path, lines in rows.items():
        parts.append(f"\n## POST {path}\n\n| parameter | sent | |\n|---|---|---|")
        parts += [f"| `{row.name}` | `{_short(row.value)}` | {row.outcome} |" for row in lines]
    return "\n".join(parts) + "\n"


def _short(value: Any) -> str:
    text = json.dumps(value).replace("|", "\\|")
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"
