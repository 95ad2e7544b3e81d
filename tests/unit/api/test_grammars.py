"""The fields that say what an answer must look like: what they come to, and what of them is refused
by name.
"""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.fields.grammar_fields import GRAMMAR_ALTERNATIVES_MAX, PATTERN_CHARS_MAX
from frontend.api.fields.grammars import DEPTH_MAX, grammar_of
from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.reading import answer_grammar, reading_of
from frontend.api.fields.schemas import ChatCompletionRequest
from protocol.errors import InvalidRequest
from protocol.generation import Grammar
from protocol.limits import GRAMMAR_BYTES_MAX
from protocol.membership import ModelCard

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"ключ": {"enum": ["é", 'a"b']}},
    "required": ["ключ"],
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
_parser = BodyParser(ChatCompletionRequest)


def _request(**fields: Any) -> ChatCompletionRequest:
    return _parser.parse(
        json.dumps(
            {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
        ).encode()
    )


def _grammar(**fields: Any) -> Grammar | None:
    return grammar_of(_request(**fields))


def _card(**fields: Any) -> ModelCard:
    return ModelCard("m", context_length=10, vocab_size=10, eos_token_ids=[], files=[], **fields)


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def test_every_name_of_a_json_schema_comes_to_the_same_schema() -> None:
    named = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": SCHEMA, "strict": True, "description": "d"},
    }
    grammars = [
        _grammar(response_format=named),
        _grammar(guided_json=SCHEMA),
        _grammar(guided_json=json.dumps(SCHEMA)),
        _grammar(json_schema=json.dumps(SCHEMA)),
    ]
    for grammar in grammars:
        assert grammar is not None
        assert (grammar.kind, json.loads(grammar.text)) == ("json_schema", SCHEMA)
    assert [grammar.field for grammar in grammars if grammar] == [
        "response_format.json_schema.schema",
        "guided_json",
        "guided_json",
        "json_schema",
    ]


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"response_format": {"type": "json_object"}}, "json_schema", '{"type":"object"}'),
        ({"guided_regex": "a+"}, "regex", "a+"),
        ({"regex": "a+"}, "regex", "a+"),
        ({"guided_grammar": "root ::= x"}, "ebnf", "root ::= x"),
        ({"ebnf": "root ::= x"}, "ebnf", "root ::= x"),
        ({"structural_tag": '{"format":{}}'}, "structural_tag", '{"format":{}}'),
    ],
)
def test_each_field_is_of_its_kind(fields: dict[str, Any], kind: str, text: str) -> None:
    grammar = _grammar(**fields)
    assert grammar is not None
    assert (grammar.kind, grammar.text, grammar.field) == (kind, text, next(iter(fields)))


def test_any_text_is_no_grammar() -> None:
    assert _grammar() is None
    assert _grammar(response_format={"type": "text"}, guided_json=None, regex=None) is None


def test_a_structural_tag_is_passed_on_in_both_of_its_forms() -> None:
    new = {"type": "structural_tag", "format": {"type": "any_text"}}
    old = {
        "type": "structural_tag",
        "structures": [{"begin": "<a>", "schema": {}, "end": "</a>"}],
        "triggers": ["<a"],
    }
    for tag in (new, old):
        grammar = _grammar(response_format=tag)
        assert grammar is not None
        assert grammar.kind == "structural_tag"
        assert json.loads(grammar.text).items() >= tag.items()
    with pytest.raises(InvalidRequest, match="either format"):
        _grammar(response_format=old | new)


@given(
    st.lists(
        st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text),
        min_size=1,
        max_size=8,
    ),
    st.text(max_size=20),
)
def test_choices_become_an_expression_that_matches_them_and_nothing_else(
    choices: list[str], other: str
) -> None:
    choices = [choice.encode("utf-8", "ignore").decode() or "x" for choice in choices]
    grammar = _grammar(guided_choice=choices)
    assert grammar is not None
    assert grammar.kind == "regex"
    for choice in choices:
        assert re.fullmatch(grammar.text, choice)
    assert bool(re.fullmatch(grammar.text, other)) == (other in choices)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "nope"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": 3}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "structural_tag"}}, "response_format"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": 5}, "guided_json"),
        ({"guided_json": _nested(DEPTH_MAX)}, "guided_json"),
        ({"guided_json": {"const": "\0"}}, "guided_json"),
        ({"guided_json": {"properties": {"\0": {}}}}, "guided_json"),
        (
            {"guided_json": {"properties": {"a": {"$ref": "https://example.com/schema"}}}},
            "guided_json",
        ),
        ({"guided_json": {"$ref": "#name"}}, "guided_json"),
        ({"json_schema": "[" * 100_000}, "json_schema"),
        ({"json_schema": "x" * (GRAMMAR_BYTES_MAX + 1)}, "json_schema"),
        ({"guided_json": {"const": "é" * GRAMMAR_BYTES_MAX}}, "guided_json"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"regex": "a" * (PATTERN_CHARS_MAX + 1)}, "regex"),
        ({"regex": "a\0"}, "regex"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [""]}, "guided_choice[0]"),
        ({"guided_choice": ["a"] * (GRAMMAR_ALTERNATIVES_MAX + 1)}, "guided_choice"),
        ({"structural_tag": "[]"}, "structural_tag"),
        ({"regex": "a", "ebnf": "b"}, "ebnf"),
        ({"response_format": {"type": "json_object"}, "guided_json": {}}, "guided_json"),
    ],
)
def test_what_is_malformed_or_beyond_a_bound_is_refused_by_its_name(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        _grammar(**fields)
    assert raised.value.param == param


def test_data_in_a_schema_may_look_like_a_reference() -> None:
    assert _grammar(guided_json={"const": {"$ref": "https://example.com"}})
    assert _grammar(guided_json={"properties": {"$ref": {"type": "string"}}})


def test_a_schema_of_the_greatest_depth_is_taken() -> None:
    assert _grammar(guided_json=_nested(DEPTH_MAX - 1))


def test_a_forced_tool_call_and_a_grammar_exclude_each_other() -> None:
    request = _request(tools=[TOOL], tool_choice="required", guided_regex="a")
    with pytest.raises(InvalidRequest) as raised:
        reading_of(request, _card(), grammar_of(request))
    assert raised.value.param == "tool_choice"


def test_json_of_the_clients_schema_is_not_read_as_a_tool_call() -> None:
    card = _card(tool_call_parser="llama3")
    free, held = _request(tools=[TOOL]), _request(tools=[TOOL], guided_json=SCHEMA)
    assert reading_of(free, card, grammar_of(free)) is not None
    assert reading_of(held, card, grammar_of(held)) is None


def test_a_grammar_waits_for_the_end_of_the_thinking_even_where_it_stays_in_the_content() -> None:
    card = _card(reasoning_parser="qwen3")
    free, held = (
        _request(separate_reasoning=False),
        _request(separate_reasoning=False, guided_json=SCHEMA, tools=[TOOL]),
    )
    assert reading_of(free, card, grammar_of(free)) is None
    reading = reading_of(held, card, grammar_of(held))
    assert reading is not None
    assert b"tools" not in reading.chat


@pytest.mark.parametrize(
    ("asked", "guided"),
    [
        ({"json": {"type": "object"}}, {"guided_json": {"type": "object"}}),
        ({"json": '{"type": "object"}'}, {"guided_json": '{"type": "object"}'}),
        ({"regex": "a+"}, {"guided_regex": "a+"}),
        ({"choice": ["yes", "no"]}, {"guided_choice": ["yes", "no"]}),
        ({"grammar": 'root ::= "a"'}, {"guided_grammar": 'root ::= "a"'}),
        ({"json_object": True}, {"response_format": {"type": "json_object"}}),
    ],
)
def test_structured_outputs_are_what_guided_fields_are(
    asked: dict[str, Any], guided: dict[str, Any]
) -> None:
    newer, older = _grammar(structured_outputs=asked), _grammar(**guided)
    assert newer is not None
    assert older is not None
    assert (newer.kind, newer.text, newer.field) == (older.kind, older.text, "structured_outputs")


def test_structured_outputs_say_one_thing_or_none() -> None:
    assert _grammar(structured_outputs={}) is None
    assert _grammar(structured_outputs={"json_object": False}) is None
    with pytest.raises(InvalidRequest):
        _grammar(structured_outputs={"regex": "a", "choice": ["b"]})
    with pytest.raises(InvalidRequest):
        _grammar(structured_outputs={"regex": "a"}, regex="a")


JSON_OBJECT = {"type": "json_object"}
CARD = _card(tool_call_parser="qwen")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}])
def test_a_forced_call_wins_over_a_response_format(choice: Any) -> None:
    request = _request(tools=[TOOL], tool_choice=choice, response_format=JSON_OBJECT)
    assert answer_grammar(request) is None
    assert reading_of(request, CARD, None) is not None


@pytest.mark.parametrize(
    "choice",
    [
        None,
        "auto",
        {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]},
        },
    ],
)
def test_a_response_format_beside_tools_that_may_be_called_is_for_the_worker_to_join(
    choice: Any,
) -> None:
    request = _request(tools=[TOOL], tool_choice=choice, response_format=JSON_OBJECT)
    grammar = answer_grammar(request)
    assert grammar is not None
    reading = reading_of(request, CARD, grammar)
    assert reading is not None
    assert b'"tools"' in reading.chat


def test_without_a_parser_or_with_tool_choice_none_a_response_format_is_all() -> None:
    for card, choice in ((_card(), "auto"), (CARD, "none")):
        request = _request(tools=[TOOL], tool_choice=choice, response_format=JSON_OBJECT)
        grammar = answer_grammar(request)
        assert grammar is not None
        assert reading_of(request, card, grammar) is None
