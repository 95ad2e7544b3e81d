"""The grammar of a chat that has a response format and tools, none of which must be called, allows
JSON of the client's schema, or tool calls.
"""

import json
from typing import Any

from sglang.srt.function_call.function_call_parser import FunctionCallParser

from workers.sglang.reading.tags import tags_of_structures


def answer_or_call(
    schema: str, tools: list[Any], parser: str, tokenizer: Any, *, one_call: bool
) -> str | None:
    """Returns a structural tag that begins with JSON of `schema` or with a call, and holds to what
    it began with.

    Args:
        schema: JSON text.
        tools: SGLang's `Tool`s; the arguments of those that are not strict are any object.
        parser: SGLang's name of the calls' format.
        one_call: at most one.
    Returns:
        None for formats whose calls begin like JSON, or that SGLang does not describe by tags.
    """
    calls = FunctionCallParser(tools, parser, tokenizer=tokenizer).get_structure_constraint(
        "required", not one_call
    )
    if calls is None or calls[0] != "structural_tag":
        return None
    tag = calls[1] if isinstance(calls[1], dict) else calls[1].model_dump(by_alias=True)
    tags = _tags(tag)
    if not tags or any(each["begin"].lstrip()[:1] in ("", "{", "[", '"') for each in tags):
        return None
    answer = {"type": "json_schema", "json_schema": json.loads(schema)}
    calling = {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": "\n",
        "at_least_one": True,
        "stop_after_first": one_call,
    }
    either = {"type": "or", "elements": [answer, calling]}
    return json.dumps({"type": "structural_tag", "format": either}, ensure_ascii=False)


def _tags(tag: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the tags of a structural tag, one for each tool."""
    structures = tag.get("structures")
    if structures is not None:
        return tags_of_structures(structures)
    form = tag["format"]
    return (
        form["tags"]
        if form["type"] == "triggered_tags"
        and all(isinstance(each["begin"], str) for each in form["tags"])
        else []
    )
