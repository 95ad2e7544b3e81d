"""The keywords of a schema are about types, and alternatives may stand beside them."""

from typing import Any, Final, cast

from frontend.api.fields.schema_values import FAMILIES

SPREAD_MAX: Final = 16
"""An anyOf may have so many branches if each is to get a copy of what is beside it."""

Schema = dict[str, Any]


def spread(schema: Schema) -> Schema:
    """Returns the schema with what is beside an anyOf put into each of its branches, if all that
    these say is what they require.
    """
    branches = cast("list[Any]", schema["anyOf"]) if isinstance(schema.get("anyOf"), list) else []
    if len(schema) == 1 or not branches or not all(_requires(branch) for branch in branches):
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if (
        len(branches) > SPREAD_MAX
        or not isinstance(rest.get("required", []), list)
        or not isinstance(rest.get("properties"), dict)
    ):
        return schema
    always = cast("list[Any]", rest.get("required", []))
    return {"anyOf": [{**rest, "required": [*always, *branch["required"]]} for branch in branches]}


def _requires(branch: Any) -> bool:
    return (
        isinstance(branch, dict)
        and set(cast("Schema", branch)) == {"required"}
        and isinstance(branch["required"], list)
    )


def about(schema: Schema) -> list[str]:
    """Returns the types that the schema's keywords are about."""
    return [family for family, keywords in FAMILIES.items() if not keywords.isdisjoint(schema)]
