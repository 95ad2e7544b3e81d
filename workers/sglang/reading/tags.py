"""Structural tags tell xgrammar that parts of a text are JSON of a schema."""

import json
from typing import Any, Final, cast

WHITESPACE_MAX: Final = 1
"""At most so many white space characters stand between two signs of JSON, unless the operator says
otherwise.

Small models fill all of their tokens with it.
"""


def tags_of_structures(structures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the tags of a structural tag's older form, in the new one, which alone can say how
    much white space there may be.
    """
    return [
        {
            "type": "tag",
            "begin": structure["begin"],
            "content": {
                "type": "json_schema",
                "json_schema": structure.get("schema") or {"type": "object"},
            },
            "end": structure["end"],
        }
        for structure in structures
    ]


def bounded(tag: str, whitespace_max: int | None) -> str:
    """Returns the structural tag, JSON text, with all its JSON bound to so many white space
    characters in a row (None: `WHITESPACE_MAX`).
    """
    root = json.loads(tag)
    if (structures := root.get("structures")) is not None:
        form = {
            "type": "triggered_tags",
            "triggers": root["triggers"],
            "tags": tags_of_structures(structures),
        }
        root = {
            "type": "structural_tag",
            "format": form | {"at_least_one": root.get("at_least_one", False)},
        }
    _bound(root["format"], whitespace_max or WHITESPACE_MAX)
    return json.dumps(root, ensure_ascii=False)


def _bound(node: Any, whitespace_max: int) -> None:
    if isinstance(node, list):
        for each in cast("list[Any]", node):
            _bound(each, whitespace_max)
    elif isinstance(node, dict):
        node = cast("dict[str, Any]", node)
        if node.get("type") == "json_schema":
            node["max_whitespace_cnt"] = whitespace_max
            return
        for each in node.values():
            _bound(each, whitespace_max)
