"""Schemas that an answer is held to: enforced, or refused by the keyword's name. xgrammar's
grammars against a validator.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from frontend.api.fields.bound_schemas import DEPTH_MAX, bound_schema
from protocol.errors import InvalidRequest
from tests.unit.api.grammar_acceptor import GrammarAcceptor

A = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
XY = {"x": {"type": "boolean"}, "y": {"type": "boolean"}}
EITHER: dict[str, Any] = {
    "type": "object",
    "properties": XY,
    "additionalProperties": False,
    "anyOf": [{"required": ["x"]}, {"required": ["y"]}],
}


def _refusal(schema: Any) -> str:
    with pytest.raises(InvalidRequest) as raised:
        bound_schema(schema, "the.field")
    assert raised.value.param == "the.field"
    return str(raised.value)


@pytest.fixture(scope="module")
def acceptor() -> Iterator[GrammarAcceptor]:
    with GrammarAcceptor() as running:
        yield running


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"allOf": [A, B]}, "'allOf'"),
        ({"allOf": [A], "minProperties": 2}, "'minProperties' beside 'allOf'"),
        (
            {"type": "object", "properties": XY, "anyOf": [{"minProperties": 1}]},
            "'properties' beside 'anyOf'",
        ),
        (
            {"type": "string", "anyOf": [{"type": "string"}, {"type": "null"}]},
            "'type' beside 'anyOf'",
        ),
        ({"anyOf": [A], "oneOf": [B]}, "'oneOf' beside 'anyOf'"),
        ({"oneOf": [A, B]}, "'oneOf'"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "'oneOf'"),
        ({"$defs": {"A": A}, "$ref": "#/$defs/A", "required": ["b"]}, "'required' beside '$ref'"),
        ({"type": "string", "pattern": "^(?=b)[a-c]{3}$"}, "looking ahead"),
        ({"type": "object", "patternProperties": {"(?!b)": {}}}, "looking ahead"),
        ({"type": "string", "pattern": '^a"b$'}, "a character that JSON escapes"),
        ({"type": "string", "pattern": r"^a\\b$"}, "a character that JSON escapes"),
        ({"type": "string", "pattern": "a^b"}, "an anchor"),
        ({"type": "string", "const": 5}, "'const'"),
        ({"enum": ["a", "b"], "pattern": "a"}, "'pattern' beside 'enum'"),
        ({"type": "string", "pattern": "^a", "minLength": 3}, "'minLength' beside 'pattern'"),
        ({"type": "string", "format": "iri"}, "'iri'"),
        ({"type": "integer", "multipleOf": 2}, "'multipleOf'"),
        ({"not": {}}, "'not'"),
        ({"if": {}}, "'if'"),
        ({"type": "array", "uniqueItems": True}, "'uniqueItems'"),
        ({"type": "array", "contains": {}}, "'contains'"),
        (
            {"type": "object", "properties": XY, "dependentRequired": {"x": ["y"]}},
            "'dependentRequired'",
        ),
        (
            {"type": "object", "properties": XY, "patternProperties": {"x": {}}},
            "'patternProperties' beside 'properties'",
        ),
        (
            {"type": "object", "properties": XY, "propertyNames": {"maxLength": 0}},
            "'propertyNames' beside 'properties'",
        ),
        (
            {"type": "object", "required": ["a"], "additionalProperties": False},
            "'required' names 'a'",
        ),
        ({"type": []}, "'type'"),
        ({"oneOf": [{"const": 10**40}, {"const": 10**40}]}, "'oneOf'"),
        ({"$ref": "#/$defs/none"}, "'#/$defs/none', which is not there"),
        ({"properties": {"a": {"$defs": {}, "items": {"not": {}}}}}, "'not'"),
    ],
)
def test_what_would_not_be_enforced_is_refused_by_its_name(schema: Any, named: str) -> None:
    assert named in _refusal(schema)


@pytest.mark.parametrize(
    ("schema", "fits", "does_not"),
    [
        (EITHER, [{"x": True}, {"y": True}, {"x": True, "y": False}], [{}, ': {"', {"x": 1}]),
        ({"enum": ["a", "bb"], "minLength": 2}, ["bb"], ["a"]),
        (
            {"enum": ["a", 5, 1.0, None, True], "type": ["string", "integer"]},
            ["a", 5],
            [None, True],
        ),
        ({"const": "a", "enum": ["a"], "type": "string"}, ["a"], ["b"]),
        ({"minLength": 2}, ["ab"], ["a"]),
        ({"pattern": r'^[^"\\(?=]+$'}, ["ab"], ["a(", 5]),
        ({"pattern": r"^\^|[$]$"}, ["^", "$"], ["a"]),
        ({"required": ["a"]}, [{"a": 1}], [{}, 5]),
        ({"type": "array", "minItems": 2}, [[1, 2]], [[1]]),
        ({"$defs": {"a/b": {"type": "boolean"}}, "$ref": "#/$defs/a~1b"}, [True], [1]),
        ({"$defs": {"a b": {"type": "boolean"}}, "$ref": "#/$defs/a%20b"}, [True], [1]),
        (
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"$ref": "#/prefixItems/0"}],
                "minItems": 2,
            },
            [[1, 2]],
            [[1, "a"]],
        ),
        (
            {"definitions": {"A": A}, "allOf": [{"$ref": "#/definitions/A"}]},
            [{"a": 1}],
            [{"a": "x"}],
        ),
        ({"type": "object", "anyOf": [A, B]}, [{"a": 1}, {"b": 1}], [{"c": 1}, 5]),
        ({"oneOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], ["a"]),
        ({"type": "string", "format": "int-of-some-kind"}, ["a"], [1]),
        ({"type": "array", "uniqueItems": False, "items": {"type": "integer"}}, [[1, 1]], [["a"]]),
        (
            {"properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
            [{"next": {"next": {}}}],
            [{"next": 5}],
        ),
    ],
)
def test_what_can_be_said_otherwise_is_enforced(
    acceptor: GrammarAcceptor, schema: Any, fits: list[Any], does_not: list[Any]
) -> None:
    accepted = acceptor.accepted(bound_schema(schema, "f"), fits + does_not)
    assert accepted == [True] * len(fits) + [False] * len(does_not)


@pytest.mark.parametrize(
    "schema",
    [
        {"format": []},
        {"type": {}},
        {"enum": {}},
        {"required": [[]]},
        {"properties": 5},
        {"anyOf": 5},
        {"minItems": "x", "enum": [[]]},
        {"$ref": 5},
    ],
)
def test_what_is_no_schema_is_passed_on_or_refused_and_never_fails(schema: Any) -> None:
    with suppress(InvalidRequest):
        bound_schema(schema, "f")


def test_alternatives_that_a_constant_tells_apart_are_one_of(acceptor: GrammarAcceptor) -> None:
    def kind(name: str) -> Any:
        return {
            "type": "object",
            "properties": {"kind": {"const": name}, "a": {}},
            "required": ["kind"],
        }

    schema = {
        "$defs": {"One": kind("one"), "Two": kind("two")},
        "oneOf": [{"$ref": "#/$defs/One"}, {"$ref": "#/$defs/Two"}],
    }
    assert acceptor.accepted(bound_schema(schema, "f"), [{"kind": "one"}, {"kind": "three"}]) == [
        True,
        False,
    ]
    assert "'oneOf'" in _refusal({"oneOf": [kind("one"), kind("one")]})


def test_a_schema_as_pydantic_writes_it_is_left_as_it_is() -> None:
    schema = {
        "$defs": {
            "Item": {
                "properties": {"n": {"type": "integer"}},
                "required": ["n"],
                "title": "Item",
                "type": "object",
            }
        },
        "properties": {
            "items": {"items": {"$ref": "#/$defs/Item"}, "type": "array"},
            "note": {
                "anyOf": [{"type": "string"}, {"type": "null"}],
                "default": None,
                "title": "Note",
            },
            "day": {"type": "string", "format": "date"},
        },
        "required": ["items"],
        "type": "object",
    }
    assert bound_schema(schema, "f") == schema


def test_in_a_namespace_definitions_and_the_root_have_names_of_their_own() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "up": {"$ref": "#"}},
        "$defs": {"A": A},
    }
    bound = bound_schema(schema, "f", namespace="tool.")
    assert bound["properties"] == {
        "a": {"$ref": "#/$defs/tool.A"},
        "up": {"$ref": "#/$defs/tool.root"},
    }
    assert set(bound["$defs"]) == {"tool.A", "tool.root"}


def test_depth_and_chains_of_references_are_bounded() -> None:
    schema: Any = {}
    for _ in range(DEPTH_MAX):
        schema = {"items": schema}
    assert "levels" in _refusal(schema)
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(5_000)} | {
        "d5000": {"type": "null"}
    }
    assert len(bound_schema({"$defs": chain, "$ref": "#/$defs/d0"}, "f")["$defs"]) == 5_001


_values = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        2,
        -1,
        1.5,
        "",
        "a",
        "ab",
        "bba",
        [],
        [1],
        [1, "a"],
        {},
        {"a": 1},
        {"b": "a"},
        {"a": 1, "b": "ab"},
    ]
)
_types = st.sampled_from(["string", "integer", "number", "array", "object", "boolean", "null"])
_counts = st.integers(0, 2)
_names = st.sampled_from(["a", "b"])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keywords = {
        "type": _types | st.lists(_types, min_size=1, max_size=2, unique=True),
        "enum": st.lists(_values, min_size=1, max_size=3),
        "const": _values, "allOf": st.lists(inner, min_size=1, max_size=2), "anyOf": st.lists(inner,
        min_size=1, max_size=2),
        "oneOf": st.lists(inner, min_size=1, max_size=2), "$ref": st.sampled_from(["#",
        "#/properties/a", "#/$defs/A"]), "not": inner,
        "minLength": _counts, "maxLength": _counts, "pattern": st.sampled_from(["^a", "b$",
        "^[ab]{2}$", "^(?!b)", "a"]),
        "minimum": _counts, "exclusiveMaximum": _counts, "multipleOf": st.just(2), "items": inner,
        "minItems": _counts, "maxItems": _counts,
        "prefixItems": st.lists(inner, min_size=1, max_size=2), "uniqueItems": st.booleans(),
        "contains": inner, "properties":
        st.dictionaries(_names, inner, max_size=2), "required": st.lists(_names, max_size=2,
        unique=True), "additionalProperties": inner,
        "patternProperties": st.dictionaries(st.just("^a"), inner, max_size=1),
        "propertyNames": inner, "minProperties": _counts,
        "maxProperties": _counts, "unevaluatedProperties": st.booleans(),
        "unevaluatedItems": st.booleans(),
        "dependentRequired": st.just({"a": ["b"]}), "if": inner, "then": inner,
        "title": st.just("t"),
    }  # fmt: skip
    return st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({keyword: keywords[keyword] for keyword in chosen})
    )


_schema = st.recursive(st.booleans() | _schemas(st.just({})), _schemas, max_leaves=6)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(_schema, st.lists(_values, min_size=12, max_size=12))
@example({"propertyNames": {}, "maxItems": 0, "unevaluatedProperties": False}, [{"a": 1}])
@example({"required": ["b"], "unevaluatedProperties": False}, [{"b": "a"}])
@example({"propertyNames": {"maxLength": 1}, "unevaluatedProperties": False}, [{"a": 1}])
def test_what_is_taken_accepts_nothing_that_a_validator_does_not(
    acceptor: GrammarAcceptor, schema: Any, values: list[Any]
) -> None:
    try:
        accepted = acceptor.accepted(bound_schema(schema, "f"), values)
    except InvalidRequest:
        return
    if accepted is None:
        return
    validator = Draft202012Validator(schema)
    with suppress(RecursionError):
        assert [
            value
            for value, fits in zip(values, accepted, strict=True)
            if fits and not validator.is_valid(value)
        ] == []


NUMBERS = list(range(8_000))


def spread(depth: int) -> dict[str, Any]:
    """Each level is bound 16 times for each time that the one above it is."""
    if not depth:
        return {"type": "string"}
    return {
        "type": "object",
        "properties": {"a": spread(depth - 1)},
        "anyOf": [{"required": ["a"]}] * 16,
    }


@pytest.mark.timeout(30)  # each of them took minutes
@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "[^" * 30_000},
        {"type": "string", "pattern": "[" * 60_000 + "\\"},
        spread(6),
        {
            "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}] * 60,
            "$defs": {"a": {"enum": NUMBERS}, "b": {"enum": NUMBERS}},
        },
        {
            "type": "integer",
            "anyOf": [{"$ref": "#/$defs/a"}] * 9_000,
            "$defs": {"a": {"enum": NUMBERS}},
        },
        {"const": "x" * 100_000, "enum": ["y"] * 30_000},
        {
            "properties": {
                str(number): {"oneOf": [{"const": each} for each in range(100)]}
                for number in range(60)
            }
        },
    ],
    ids=[
        "negated classes",
        "classes",
        "spread in each other",
        "oneOf to enums",
        "anyOf to enums",
        "const beside enum",
        "many oneOf",
    ],
)
def test_no_schema_takes_more_than_its_share_of_time(schema: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        bound_schema(schema, "schema")
