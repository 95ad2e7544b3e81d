"""A JSON schema binds an answer where a grammar holds all of it; other schemas are refused by name.

xgrammar 0.2.7 passes over many keywords and combinations without a word. Here is the list, found by
comparing what its grammars accept with a validator, which tests/unit/api/test_bound_schemas.py goes
on doing with schemas made at random. One rule for response formats and for the arguments of tools:
conforming, or refused.
"""

import re
from collections.abc import Callable
from typing import Any, Final, cast

from frontend.api.fields.schema_keywords import check_object, check_string
from frontend.api.fields.schema_pointers import Pointers, steps
from frontend.api.fields.schema_shapes import Schema, about, spread
from frontend.api.fields.schema_values import (
    ONE_OF_MAX,
    KnownValues,
    family_of,
    fitting_values,
    may_overlap,
    types_of,
)
from protocol.errors import InvalidRequest

DEPTH_MAX: Final = 128
"""A schema may have so many objects and arrays within each other. OpenAI allows 10 levels of
properties; at 600 compiling takes 5 s, at 1,800 minutes.
"""

NODES_MAX: Final = 10_000
"""A schema may hold so many schemas, each counted as often as an anyOf spreads it."""

COMPARED_MAX: Final = 20_000
"""All the oneOf of a schema may have so many pairs of schemas."""

_UNENFORCED: Final = frozenset({
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "dependentRequired",
    "dependentSchemas", "dependencies",
    "multipleOf", "uniqueItems", "additionalItems", "$dynamicRef", "$recursiveRef",
})  # fmt: skip
_COMBINING: Final = ("$ref", "allOf", "anyOf", "oneOf")
_GENERAL: Final = frozenset({"type", "enum", "const", *_COMBINING})
_PLAIN: Final = frozenset({"type", "description", "title", "default"})
"""Names keywords that need no look: most schemas of a schema have no others."""

_UNKNOWN: Final[Schema] = {}
"""Stands for what a boolean, as a schema, says of values."""

_DEFINING: Final = ("$defs", "definitions")
_WITH_A_SCHEMA: Final = (
    "items",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_WITH_SCHEMAS_BY_NAME: Final = ("properties", "patternProperties")

_NOT_IN_NAMES: Final = re.compile(r"[^\w.-]")
"""Matches what a pointer would have to escape."""

_FORMATS: Final = frozenset(
    {
        "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "json-pointer",
        "relative-json-pointer", "time", "uri",
        "uri-reference", "uri-template", "uuid",
    }
)  # fmt: skip
_FORMATS_UNENFORCED: Final = frozenset(
    {"idn-email", "idn-hostname", "iri", "iri-reference", "regex"}
)
"""Names JSON Schema's other formats. A format of nobody's list is no constraint."""


def bound_schema(schema: Any, field: str, *, param: str | None = None, namespace: str = "") -> Any:
    """Returns a schema as a grammar takes it, which accepts nothing that `schema` does not.

    References of every form become `#/$defs/NAME`, what can be said in one keyword is (values of an
    enum that its type excludes are left out), and a schema without type gets the types that its
    keywords are about.

    Args:
        field: what errors are about.
        param: the client's field, if `field` is not its name.
        namespace: goes before the names of definitions, and the root is named as well, so that
        several such schemas may become parts
            of one.
    Raises:
        InvalidRequest: a keyword that is not enforced, a reference to nothing, or too deep.
    """
    return _Binding(schema, field, param or field, namespace).bound()


class _Binding:
    def __init__(self, root: Any, field: str, param: str, namespace: str) -> None:
        self._root = root
        self._field = field
        self._param = param
        self._namespace = _NOT_IN_NAMES.sub("_", namespace)
        self._names: dict[int, str] = {}
        """Maps the identity of what is referred to, which has several pointers, to its name."""
        self._taken: set[str] = set()
        self._pointers = Pointers(root)
        self._known = KnownValues()
        self._nodes = self._compared = 0
        self._left: list[tuple[str, Any]] = []
        """Holds the definitions still to be bound, so that how references chain costs no stack."""

    def bound(self) -> Any:
        root = self._schema(self._root, 1)
        definitions: Schema = {}
        while self._left:
            name, target = self._left.pop()
            definitions[name] = self._schema(target, 1)
        return {**root, "$defs": definitions} if definitions else root

    def _refused(self, what: str) -> InvalidRequest:
        return InvalidRequest(f"{self._field} cannot be held: {what}.", param=self._param)

    def _schema(self, schema: Any, depth: int) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise self._refused(f"a schema must be an object or a boolean, not {str(schema)[:100]}")
        self._count(depth)
        given = cast("Schema", schema)
        if _PLAIN.issuperset(given) and isinstance(given.get("type"), str):
            return given
        schema = {key: value for key, value in given.items() if key not in _DEFINING}
        if schema.get("uniqueItems") is False:
            del schema["uniqueItems"]
        if not _UNENFORCED.isdisjoint(schema):
            raise self._refused(
                f"{next(key for key in schema if key in _UNENFORCED)!r} is not enforced here"
            )
        if schema.get("allOf") == []:
            del schema["allOf"]
        schema = spread(schema)
        combining = [keyword for keyword in _COMBINING if keyword in schema]
        if combining:
            return self._combined(schema, combining[0], depth)
        if "enum" in schema or "const" in schema:
            return self._of_values(schema)
        return self._of_types(schema, depth)

    def _count(self, depth: int) -> None:
        self._nodes += 1
        if depth > DEPTH_MAX:
            raise InvalidRequest(
                f"{self._field} has more than {DEPTH_MAX} levels of objects and arrays.",
                param=self._param,
            )
        if self._nodes > NODES_MAX:
            raise self._refused(f"it has more than {NODES_MAX} schemas, or comes to so many")

    def _combined(self, schema: Schema, keyword: str, depth: int) -> Any:
        siblings = [
            each
            for each in schema
            if each not in (keyword, "type") and (each in _GENERAL or family_of(each))
        ]
        siblings += ["type"] if "type" in schema else []
        value = schema[keyword]
        if keyword == "$ref":
            self._alone(keyword, siblings)
            return {**schema, "$ref": self._reference(value)}
        if not isinstance(value, list) or not value:
            raise self._refused(f"{keyword!r} must be a list of schemas")
        branches = cast("list[Any]", value)
        if keyword == "allOf":
            self._alone(keyword, siblings)
            if len(branches) > 1:
                raise self._refused(
                    "'allOf' of several schemas is not enforced here; put what they say into one"
                )
        elif not self._says_types_again(schema, siblings, branches):
            self._alone(keyword, siblings)
        if keyword == "oneOf":
            self._compared += len(branches) * (len(branches) - 1) // 2
            if len(branches) > ONE_OF_MAX or self._compared > COMPARED_MAX:
                raise self._refused(
                    "it has 'oneOf' of too many schemas, each of which is compared with each"
                )
        if keyword == "oneOf" and may_overlap(
            [self._behind(branch) for branch in branches], self._behind, self._known
        ):
            raise self._refused(
                "'oneOf' is not enforced here where an answer may fit several of its schemas; "
                "use anyOf, or give each another type or another constant in one required property"
            )
        plain = {key: each for key, each in schema.items() if key != "type"}
        return {**plain, keyword: [self._schema(branch, depth + 1) for branch in branches]}

    def _alone(self, keyword: str, siblings: list[str]) -> None:
        if siblings:
            raise self._refused(f"{siblings[0]!r} beside {keyword!r} is not enforced here")

    def _says_types_again(self, schema: Schema, siblings: list[str], branches: list[Any]) -> bool:
        """Tells whether nothing is beside the branches but a type that each of them has itself."""
        if siblings != ["type"]:
            return False
        types = types_of(schema) or frozenset()
        return all(
            (own := self._types_behind(branch)) is not None and own <= types for branch in branches
        )

    def _types_behind(self, schema: Any) -> frozenset[str] | None:
        """Returns the types of what the bound schema will allow; None if that is hard to see."""
        found = self._behind(schema)
        types = self._known.types(found)
        return frozenset(about(found)) or None if types is None else types

    def _behind(self, schema: Any) -> Schema:
        """Returns the schema that a chain of references leads to."""
        for _ in range(DEPTH_MAX):
            if not isinstance(schema, dict) or "$ref" not in schema:
                break
            schema = self._target(cast("Schema", schema)["$ref"])
        return cast("Schema", schema) if isinstance(schema, dict) else _UNKNOWN

    def _of_values(self, schema: Schema) -> Schema:
        try:
            values = fitting_values(schema)
        except ValueError as error:
            raise self._refused(str(error)) from None
        if not values:
            raise self._refused("no value of an 'enum' or 'const' is allowed by what is beside it")
        rest = {
            key: value for key, value in schema.items() if not (key in _GENERAL or family_of(key))
        }
        if "enum" in schema:
            return {**rest, "enum": values} | ({"type": schema["type"]} if "type" in schema else {})
        return {**rest, "const": values[0]} | ({"type": schema["type"]} if "type" in schema else {})

    def _of_types(self, schema: Schema, depth: int) -> Schema:
        if "format" in schema and str(schema["format"]) not in _FORMATS:
            if str(schema["format"]) in _FORMATS_UNENFORCED:
                raise self._refused(f"the format {schema['format']!r} is not enforced here")
            schema = {key: value for key, value in schema.items() if key != "format"}
        types = types_of(schema)
        if types is None:
            families = about(schema)
            types = frozenset(families)
            if families:
                schema["type"] = families[0] if len(families) == 1 else families
        elif not types:
            raise self._refused("'type' must name types")
        if "string" in types:
            self._held(check_string, schema)
        if "object" in types:
            self._held(check_object, schema)
            if "minProperties" in schema and "unevaluatedProperties" not in schema:
                # by default the grammar allows nothing that is not named
                schema.setdefault("additionalProperties", True)
        if "array" in types and "minItems" in schema and "unevaluatedItems" not in schema:
            schema.setdefault("items", True)
        return self._with_children(schema, depth)

    def _held(self, check: Callable[[Schema], None], schema: Schema) -> None:
        try:
            check(schema)
        except ValueError as error:
            raise self._refused(str(error)) from None

    def _with_children(self, schema: Schema, depth: int) -> Schema:
        for keyword in _WITH_A_SCHEMA:
            if keyword in schema:
                schema[keyword] = self._schema(schema[keyword], depth + 1)
        for keyword in _WITH_SCHEMAS_BY_NAME:
            if isinstance(children := schema.get(keyword), dict):
                schema[keyword] = {
                    name: self._schema(child, depth + 1)
                    for name, child in cast("Schema", children).items()
                }
        if isinstance(items := schema.get("prefixItems"), list):
            schema["prefixItems"] = [
                self._schema(item, depth + 1) for item in cast("list[Any]", items)
            ]
        return schema

    def _reference(self, pointer: Any) -> str:
        target = self._target(pointer)
        if target is self._root and not self._namespace:
            return "#"
        if id(target) not in self._names:
            last = _NOT_IN_NAMES.sub("", [*steps(pointer)][-1] if pointer != "#" else "root")
            name = self._namespace + (last or "definition")
            if name in self._taken:
                name = f"{name}.{len(self._names)}.{last}"
            self._taken.add(name)
            self._names[id(target)] = name
            self._left.append((name, target))
        return f"#/$defs/{self._names[id(target)]}"

    def _target(self, pointer: Any) -> Any:
        try:
            return self._pointers.at(pointer)
        except ValueError as error:
            raise self._refused(str(error)) from None
