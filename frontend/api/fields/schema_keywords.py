"""A grammar passes over some keywords of strings and objects without a word; they are refused."""

from typing import Any, cast

from frontend.api.fields.schema_patterns import unenforced_in
from frontend.api.fields.schema_shapes import Schema


def check_string(schema: Schema) -> None:
    """Refuses what a grammar would not hold strings to.

    Raises:
        ValueError: saying what that is.
    """
    if schema.get("minLength") == 0:
        del schema["minLength"]
    said = [
        keyword for keyword in ("pattern", "format", "minLength", "maxLength") if keyword in schema
    ]
    if len(said) > 1 and said != ["minLength", "maxLength"]:
        raise ValueError(f"{said[1]!r} beside {said[0]!r} is not enforced here")
    _check_pattern(schema.get("pattern"))


def _check_pattern(pattern: Any) -> None:
    if isinstance(pattern, str) and (what := unenforced_in(pattern)) is not None:
        raise ValueError(f"{what} in the pattern {pattern[:100]!r} is not enforced here")


def check_object(schema: Schema) -> None:
    """Refuses what a grammar would not hold objects to; what is required and not named gets a name.

    Raises:
        ValueError: saying what that is.
    """
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        for pattern in cast("Schema", patterns):
            _check_pattern(pattern)
        if len(cast("Schema", patterns)) > 1:
            raise ValueError("several 'patternProperties' are not enforced here")
    properties: Any = schema.get("properties") or {}
    required: Any = schema.get("required") or []
    if isinstance(required, list) and isinstance(properties, dict):
        others = schema.get("additionalProperties", schema.get("unevaluatedProperties", True))
        if missing := [
            name
            for name in cast("list[Any]", required)
            if isinstance(name, str) and name not in properties
        ]:
            if others is False:
                raise ValueError(
                    f"'required' names {missing[0][:100]!r}, which 'additionalProperties' forbids"
                )
            properties = schema["properties"] = {
                **cast("Schema", properties),
                **dict.fromkeys(missing, others),
            }
    if schema.get("propertyNames") in ({}, True):
        # allows all names, and xgrammar would take it to allow what is not evaluated too
        del schema["propertyNames"]
    elif "propertyNames" in schema and schema.get("unevaluatedProperties") is False:
        raise ValueError("'propertyNames' beside 'unevaluatedProperties' is not enforced here")
    names: Schema = {
        "properties": properties,
        "patternProperties": patterns,
        "propertyNames": schema.get("propertyNames"),
    }
    said = [keyword for keyword, value in names.items() if value not in (None, {}, True)]
    if len(said) > 1:
        raise ValueError(f"{said[1]!r} beside {said[0]!r} is not enforced here")
