"""Answers that must look like something, on real SGLang: they do, whole, streamed and several at
once; and what cannot be is a 400.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from tests.fleet.real_fleets import RealFleets
from tests.fleet.shaped_answers import ASK, MODEL, telling, texts
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


class Author(BaseModel):
    name: str = Field(max_length=12)
    languages: list[Literal["español", "中文", "русский"]] = Field(min_length=1, max_length=2)


class Book(BaseModel):
    title: str = Field(max_length=20)
    pages: int = Field(ge=1, le=999)
    kind: Literal["novel", "poem 🎉"]
    author: Author
    others: Annotated[list[Author], Field(max_length=1)] | None


BOOK = Book.model_json_schema()
STRICT = {"type": "json_schema", "json_schema": {"name": "book", "schema": BOOK, "strict": True}}
AUTHOR = {"type": "json_schema", "json_schema": Author.model_json_schema(), "max_whitespace_cnt": 1}
TAG = {
    "type": "structural_tag",
    "format": {"type": "tag", "begin": "<book>", "content": AUTHOR, "end": "</book>"},
}


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets) -> Fleet:
    """A frontend and one worker with real SGLang serving the demo model, as `make up` starts
    them.
    """
    return real_fleets.of(())


@pytest.fixture(scope="module")
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


NAMES_OF_A_SCHEMA: list[dict[str, Any]] = [
    {"response_format": STRICT},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "book", "schema": BOOK, "strict": False},
        }
    },
    {"extra": {"guided_json": BOOK}},
    {"extra": {"guided_json": json.dumps(BOOK)}},
    {"extra": {"json_schema": json.dumps(BOOK)}},
]


@pytest.fixture(scope="module")
def books(client: openai.OpenAI) -> list[list[Future[str]]]:
    """What comes of a schema by each of its names."""
    with ThreadPoolExecutor(2 * len(NAMES_OF_A_SCHEMA)) as beside:
        return [telling(beside, client, **fields) for fields in NAMES_OF_A_SCHEMA]


@pytest.mark.parametrize("number", range(len(NAMES_OF_A_SCHEMA)))
def test_json_of_a_schema_conforms_by_every_name(
    books: list[list[Future[str]]], number: int
) -> None:
    for text in books[number]:
        Book.model_validate_json(text.result())


def test_the_openai_client_parses_into_a_model(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(**ASK, response_format=Book).choices[0].message.parsed
    assert isinstance(parsed, Book)


def test_a_json_object_is_one(client: openai.OpenAI) -> None:
    """What it holds is up to the model, which may not come to an end."""
    asked = ASK | {"max_tokens": 200, "response_format": {"type": "json_object"}}
    answer = client.chat.completions.create(**asked).choices[0]
    text = answer.message.content or ""
    if answer.finish_reason == "stop":
        assert isinstance(json.loads(text), dict)
    assert text.startswith("{")


@pytest.mark.parametrize("name", ["regex", "guided_regex"])
def test_text_of_an_expression_matches_it(client: openai.OpenAI, name: str) -> None:
    pattern = r"[A-Z]{3}-\d{2}( é| 🎉){1,2}"
    assert all(re.fullmatch(pattern, text) for text in texts(client, extra={name: pattern}))


def test_one_of_the_choices_is_the_answer_to_the_letter(client: openai.OpenAI) -> None:
    choices = ["a.b*c", "(x|y)", 'line\n"two"', "naïve 🎉"]
    assert set(texts(client, extra={"guided_choice": choices})) <= set(choices)
    assert texts(client, extra={"guided_choice": choices[2:3]}) == [choices[2]] * 2


@pytest.mark.parametrize("name", ["ebnf", "guided_grammar"])
def test_text_of_a_grammar_is_derived_from_it(client: openai.OpenAI, name: str) -> None:
    grammar = 'root ::= "sum: " number ("+" number){2} \nnumber ::= [1-9] [0-9]?'
    for text in texts(client, extra={name: grammar}):
        assert re.fullmatch(r"sum: [1-9]\d?(\+[1-9]\d?){2}", text)


@pytest.mark.parametrize(
    "fields", [{"response_format": TAG}, {"extra": {"structural_tag": json.dumps(TAG)}}]
)
def test_what_stands_in_a_structural_tag_conforms(
    client: openai.OpenAI, fields: dict[str, Any]
) -> None:
    for text in texts(client, **fields):
        assert text.startswith("<book>")
        assert text.endswith("</book>")
        Author.model_validate_json(text[6:-7])


def test_several_choices_conform_each_with_log_probabilities(client: openai.OpenAI) -> None:
    options = ASK | {"temperature": 1, "n": 3, "seed": 5, "logprobs": True, "top_logprobs": 2}
    answer = client.chat.completions.create(**options, response_format=STRICT)
    for choice in answer.choices:
        Book.model_validate_json(choice.message.content or "")
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        told = b"".join(bytes(token.bytes or ()) for token in choice.logprobs.content)
        assert told.decode() == f"{choice.message.content}<|im_end|>"


def test_completions_conform_too(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL,
        prompt=["one", "two"],
        max_tokens=20,
        temperature=0,
        extra_body={"regex": "yes|no"},
    )
    assert all(choice.text in ("yes", "no") for choice in answer.choices)


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema},
            }
        },
        "response_format.json_schema.schema",
    )
    for schema in (
        {"type": "thing"},
        {"$ref": "#"},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema.json"},
        {"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        {"enum": []},
        {"type": "string", "pattern": "("},
        {"type": "string", "minLength": 5, "maxLength": 1},
        {"type": "array", "maxItems": -1},
        {"type": "object", "properties": ["a"]},
        {
            "type": "object",
            "properties": {f"p{n}": {"type": "string"} for n in range(3_000)},
            "not": {},
        },
        {"type": "number", "multipleOf": 3},
    )
] + [
    ({"regex": "a?" * 4_000 + "a" * 4_000}, "regex"),
    ({"regex": "(" * 8_000 + "a" + ")" * 8_000}, "regex"),
    ({"guided_regex": "("}, "guided_regex"),
    ({"guided_regex": r"(a)\1"}, "guided_regex"),
    ({"guided_regex": "a\0"}, "guided_regex"),
    ({"ebnf": "root := x"}, "ebnf"),
    ({"ebnf": "root ::= root"}, "ebnf"),
    ({"guided_grammar": "other ::= root"}, "guided_grammar"),
    ({"structural_tag": "{}"}, "structural_tag"),
    (
        {"response_format": {"type": "structural_tag", "format": {"type": "none"}}},
        "response_format",
    ),
    ({"guided_json": "[" * 200_000}, "guided_json"),
    ({"guided_choice": ["a"], "regex": "b"}, "regex"),
    ({"regex": "a", "min_tokens": 5}, "min_tokens"),
]


@pytest.mark.parametrize(("fields", "param"), IMPOSSIBLE)
def test_what_cannot_be_is_a_400_that_names_the_field_and_the_engine_lives(
    client: openai.OpenAI, real: Fleet, fields: dict[str, Any], param: str
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(**ASK, extra_body=fields, stream=stream)
        assert raised.value.param == param
    assert texts(client, extra={"guided_choice": ["alive"]}) == ["alive"] * 2
    assert real.processes[1].popen.poll() is None


def test_a_schema_that_leads_nowhere_is_the_clients_error(client: openai.OpenAI) -> None:
    """It begins well, so that only generating tells; sampled, since that is what minus infinity
    everywhere would break.
    """
    nowhere = {
        "type": "object",
        "properties": {"a": {"$ref": "#/properties/a"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    with pytest.raises(
        openai.BadRequestError, match=r"guided_json cannot be used: .*nothing may follow"
    ):
        client.chat.completions.create(
            **ASK | {"temperature": 1}, extra_body={"guided_json": nowhere}
        )
    assert texts(client, extra={"guided_choice": ["alive"]}) == ["alive"] * 2


def test_a_tool_that_must_be_called_is_called_whatever_shape_the_text_was_to_have(
    client: openai.OpenAI,
) -> None:
    tool: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    answer = client.chat.completions.create(
        **ASK, tools=[tool], tool_choice="required", response_format=STRICT
    )  # pyright: ignore[reportArgumentType]
    [call] = answer.choices[0].message.tool_calls or []
    assert (call.function.name, answer.choices[0].finish_reason) == ("look", "tool_calls")  # pyright: ignore[reportAttributeAccessIssue]


def test_a_custom_tool_is_called_with_text_and_goes_on_from_its_result(
    client: openai.OpenAI,
) -> None:
    named: Any = {"type": "custom", "custom": {"name": "grep"}}
    asked: Any = ASK | {"tools": [named], "tool_choice": named}
    message = client.chat.completions.create(**asked).choices[0].message
    [call] = message.tool_calls or []
    assert call.type == "custom"
    assert call.custom.name == "grep"
    told: list[dict[str, Any]] = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        told += [
            call.model_dump(exclude_unset=True) for call in chunk.choices[0].delta.tool_calls or []
        ]
    assert [delta.get("type") for delta in told] == ["custom", None]
    assert "".join(delta["custom"]["input"] for delta in told) == call.custom.input
    answered: Any = {"role": "tool", "tool_call_id": call.id, "content": "nothing"}
    after = client.chat.completions.create(
        **asked | {"messages": [*ASK["messages"], message, answered], "tool_choice": "none"}
    )
    assert after.usage is not None
    assert after.usage.prompt_tokens > 0
