"""A JSON schema says of single values which types they have, which of an enum's fit, and whether
two schemas may share some.
"""

import json
from collections.abc import Callable
from itertools import combinations
from typing import Any, Final, cast

ONE_OF_MAX: Final = 128
"""One oneOf may have so many schemas: each is compared with each."""

FAMILIES: Final[dict[str, frozenset[str]]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "unevaluatedItems"}),
    "object": frozenset(
        {
            "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
            "minProperties", "maxProperties",
            "unevaluatedProperties",
        }
    ),
}  # fmt: skip
"""Maps a type to the keywords that are about values of this type alone."""

_FAMILY: Final = {keyword: family for family, keywords in FAMILIES.items() for keyword in keywords}

_BOUNDS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}


def _encode(value: Any) -> str:
    """Returns text that is equal for equal values alone, as 1 and true are not; of numbers of any
    size.
    """
    return json.dumps(value, sort_keys=True)


def family_of(keyword: str) -> str | None:
    """Returns the one type that a keyword is about; None for any other keyword."""
    return _FAMILY.get(keyword)


def types_of(schema: dict[str, Any]) -> frozenset[str] | None:
    """Returns the types that the schema names, integer with number; None if it names none."""
    said = schema.get("type")
    if said is None:
        return None
    names = (
        {name for name in cast("list[Any]", said) if isinstance(name, str)}
        if isinstance(said, list)
        else {str(said)}
    )
    return frozenset(names | {"integer"} if "number" in names else names)


def value_types(schema: dict[str, Any]) -> frozenset[str] | None:
    """Returns the types of all values that the schema allows; None if it does not say."""
    types, values = types_of(schema), _values(schema)
    if types is None and values is not None:
        return frozenset(_type_of(value) for value in values)
    return types


def fitting_values(schema: dict[str, Any]) -> list[Any]:
    """Returns those of the schema's enum and const that the keywords beside them allow.

    Raises:
        ValueError: a keyword beside them cannot be compared with values here.
    """
    types, values = types_of(schema), _values(schema) or []
    if types is not None:
        values = [value for value in values if _type_of(value) in types]
    for keyword, bound in schema.items():
        family = family_of(keyword)
        about = [value for value in values if _is_of(family, value)] if family else []
        if not about:
            continue
        holds = _BOUNDS.get(keyword)
        if holds is None or not isinstance(bound, int | float):
            raise ValueError(
                f"{keyword!r} beside {'enum' if 'enum' in schema else 'const'!r} is not "
                "enforced here"
            )
        values = [value for value in values if not _is_of(family, value) or holds(value, bound)]
    return values


def may_overlap(
    schemas: list[dict[str, Any]], behind: Callable[[Any], dict[str, Any]], known: "KnownValues"
) -> bool:
    """Tells whether a value may fit two of the schemas, as far as can be told by types, constants,
    and constants of required properties.

    Args:
        behind: follows a schema's reference.
    """
    if len({id(schema) for schema in schemas}) < len(schemas):
        return True
    marks = [_Marks(schema, behind, known) for schema in schemas]
    return any(not one.differs_from(other) for one, other in combinations(marks, 2))


class KnownValues:
    """A KnownValues keeps what schemas say of values, found out once for each: many may refer to
    one that lists thousands. They must live as long as this.
    """

    def __init__(self) -> None:
        self._types: dict[int, frozenset[str] | None] = {}
        self._encoded: dict[int, set[str] | None] = {}

    def types(self, schema: dict[str, Any]) -> frozenset[str] | None:
        """Returns what `value_types` does of a schema."""
        if id(schema) not in self._types:
            self._types[id(schema)] = value_types(schema)
        return self._types[id(schema)]

    def encoded(self, schema: dict[str, Any]) -> set[str] | None:
        """Returns a schema's values in a form that tells 1 from true; 1.0 and 1 are one. None if it
        lists none.
        """
        if id(schema) not in self._encoded:
            self._encoded[id(schema)] = _encoded(schema)
        return self._encoded[id(schema)]


class _Marks:
    """A _Marks holds what a schema's values are told apart by."""

    def __init__(
        self, schema: dict[str, Any], behind: Callable[[Any], dict[str, Any]], known: KnownValues
    ) -> None:
        self.types = known.types(schema)
        self.values = known.encoded(schema)
        self.properties: dict[str, set[str]] = {}
        properties, required = schema.get("properties"), schema.get("required")
        if isinstance(properties, dict) and isinstance(required, list):
            for name in cast("list[Any]", required):
                values = (
                    known.encoded(behind(cast("dict[str, Any]", properties).get(name)))
                    if isinstance(name, str)
                    else None
                )
                if values is not None:
                    self.properties[name] = values

    def differs_from(self, other: "_Marks") -> bool:
        if self.types is None or other.types is None:
            return False
        shared = self.types & other.types
        if not shared:
            return True
        if self.values is not None and other.values is not None:
            return self.values.isdisjoint(other.values)
        return shared == frozenset({"object"}) and any(
            values.isdisjoint(other.properties[name])
            for name, values in self.properties.items()
            if name in other.properties
        )


def _values(schema: dict[str, Any]) -> list[Any] | None:
    """Returns the values of the schema's enum, its const, or both; None without."""
    enum = schema.get("enum")
    if "const" not in schema:
        return cast("list[Any]", enum) if isinstance(enum, list) else None
    const = schema["const"]
    if not isinstance(enum, list):
        return [const]
    wanted = _encode(const)
    return [value for value in cast("list[Any]", enum) if _encode(value) == wanted]


def _encoded(schema: dict[str, Any]) -> set[str] | None:
    values = _values(schema)
    if values is None:
        return None
    return {
        _encode(int(value) if isinstance(value, float) and value.is_integer() else value)
        for value in values
    }


_TYPES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    str: "string",
    list: "array",
}


def _type_of(value: Any) -> str:
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _TYPES.get(cast("Any", type(value)), "object")


def _is_of(family: str | None, value: Any) -> bool:
    kind = _type_of(value)
    return kind == family or (family == "number" and kind == "integer")
