"""The fields that say what an answer must look like come to one grammar.

Five families of names mean the same: OpenAI's `response_format`, vLLM's `structured_outputs`, its
and Dynamo's `guided_*`, and SGLang's own `json_schema`, `regex`, `ebnf` and `structural_tag`. At
most one of them may be set. The bounds here are those that a frontend can check; what they let
through and still takes too long or too much memory is found out by the worker
(workers/sglang/grammars.py).

`strict: false` of a JSON schema is no weaker than true, as in SGLang: the output always conforms.
"""

import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, cast

import msgspec
from msgspec import Raw, UnsetType
from msgspec.structs import replace

from frontend.api.fields.bound_schemas import DEPTH_MAX, bound_schema
from frontend.api.fields.grammar_fields import (
    GrammarFields,
    JsonObjectFormat,
    JsonSchemaFormat,
    StructuralTagFormat,
)
from protocol.errors import InvalidRequest
from protocol.generation import Grammar, GrammarKind
from protocol.limits import GRAMMAR_BYTES_MAX

ANY_OBJECT: Final = '{"type":"object"}'
"""Is the schema of response_format json_object."""

_decode = msgspec.json.decode
_encode = msgspec.json.encode


def grammar_of(request: GrammarFields) -> Grammar | None:
    """Returns the grammar that a request's answer must conform to; None if it may be any text.

    Raises:
        InvalidRequest: two fields say it, or what they say is malformed or beyond a bound.
    """
    grammar = said_of(request)
    return None if grammar is None else _checked(grammar)


def said_of(request: GrammarFields) -> Grammar | None:
    """Returns what a request's answer must look like in the client's own words, which may be
    malformed; None if it may be any text.

    Raises:
        InvalidRequest: two fields say it.
    """
    if _fields_of(request) == _UNSAID:  # as nearly always
        return None
    found = [grammar for read in _READERS if (grammar := read(request)) is not None]
    if len(found) > 1:
        one, other = found[0].field, found[1].field
        raise InvalidRequest(
            f"{one} and {other} both say what the answer must look like; only one may.", param=other
        )
    return found[0] if found else None


def _response_format(request: GrammarFields) -> Grammar | None:
    match request.response_format:
        case JsonObjectFormat():
            return Grammar("json_schema", ANY_OBJECT, field="response_format")
        case JsonSchemaFormat(json_schema=named):
            text = _text_of(named.schema)
            if text is None:
                raise InvalidRequest(
                    "response_format has no schema.", param="response_format.json_schema.schema"
                )
            return Grammar("json_schema", text, field="response_format.json_schema.schema")
        case StructuralTagFormat() as tag:
            return Grammar("structural_tag", _tag_text(tag), field="response_format")
        case _:
            return None


def _tag_text(tag: StructuralTagFormat) -> str:
    if tag.format is not None and tag.structures is None and tag.triggers is None:
        return _encode({"type": "structural_tag", "format": tag.format}).decode()
    if tag.format is None and tag.structures is not None and tag.triggers is not None:
        older = {
            "structures": tag.structures,
            "triggers": tag.triggers,
            "at_least_one": bool(tag.at_least_one),
        }
        return _encode({"type": "structural_tag"} | older).decode()
    raise InvalidRequest(
        "A structural_tag has either format, or structures and triggers.", param="response_format"
    )


def _guided_json(request: GrammarFields) -> Grammar | None:
    text = None if isinstance(request.guided_json, UnsetType) else _text_of(request.guided_json)
    if text is not None and text.startswith('"'):
        text = _decode(text, type=str)
    return None if text is None else Grammar("json_schema", text, field="guided_json")


def _guided_choice(request: GrammarFields) -> Grammar | None:
    if request.guided_choice is None:
        return None
    return Grammar(
        "regex", "(" + "|".join(map(_escaped, request.guided_choice)) + ")", field="guided_choice"
    )


def _escaped(text: str) -> str:
    """Returns a regular expression that matches just this text.

    Only what means something is escaped, control characters by their number.
    """
    return re.sub(r"[\\^$.|?*+()\[\]{}/-]", r"\\\g<0>", text).translate(_CONTROL)


_CONTROL: Final = {code: f"\\x{code:02x}" for code in range(1, 32)}


def _of_field(field: str, kind: GrammarKind) -> Callable[[GrammarFields], Grammar | None]:
    def read(request: GrammarFields) -> Grammar | None:
        text = getattr(request, field)
        return None if text is None else Grammar(kind, text, field=field)

    return read


def _structured_outputs(request: GrammarFields) -> Grammar | None:
    asked = request.structured_outputs
    if asked is None:
        return None
    grammar = said_of(
        GrammarFields(
            response_format=JsonObjectFormat() if asked.json_object else None,
            guided_json=asked.json,
            guided_regex=asked.regex,
            guided_choice=asked.choice,
            guided_grammar=asked.grammar,
            structural_tag=asked.structural_tag,
        )
    )
    return None if grammar is None else replace(grammar, field="structured_outputs")


_fields_of: Final = attrgetter(*GrammarFields.__struct_fields__)
_UNSAID: Final = _fields_of(GrammarFields())

_READERS: Final[tuple[Callable[[GrammarFields], Grammar | None], ...]] = (
    _response_format,
    _guided_json,
    _of_field("guided_regex", "regex"),
    _guided_choice,
    _of_field("guided_grammar", "ebnf"),
    _of_field("json_schema", "json_schema"),
    _of_field("regex", "regex"),
    _of_field("ebnf", "ebnf"),
    _of_field("structural_tag", "structural_tag"),
    _structured_outputs,
)


def _text_of(raw: Raw) -> str | None:
    """Returns the JSON as the client wrote it, so that nothing of it changes on the way; None for
    null.
    """
    text = bytes(raw).decode()
    return None if text == "null" else text


def _checked(grammar: Grammar) -> Grammar:
    if len(grammar.text.encode()) > GRAMMAR_BYTES_MAX:
        raise InvalidRequest(
            f"{grammar.field} has more than {GRAMMAR_BYTES_MAX} bytes.", param=grammar.field
        )
    if "\0" in grammar.text:  # ends xgrammar
        raise InvalidRequest(
            f"{grammar.field} must not contain NUL characters.", param=grammar.field
        )
    return _bound(grammar) if grammar.kind in ("json_schema", "structural_tag") else grammar


def _bound(grammar: Grammar) -> Grammar:
    """Returns a grammar with its schemas as grammars take them, and the client's own text if that
    is how they are.
    """
    field = grammar.field
    try:
        root = _decode(grammar.text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{field} is no JSON: {error}.", param=field) from None
    if not isinstance(root, dict) and not (
        grammar.kind == "json_schema" and isinstance(root, bool)
    ):
        raise InvalidRequest(f"{field} must be a JSON object.", param=field)
    _check_values(root, field)
    bound = bound_schema(root, field) if grammar.kind == "json_schema" else _bound_tag(root, field)
    return grammar if bound == root else replace(grammar, text=_encode(bound).decode())


def _bound_tag(value: Any, field: str) -> Any:
    """Returns a structural tag's JSON with its schemas bound: `json_schema` of the new form,
    `schema` of the older one's structures.
    """
    if isinstance(value, list):
        return [_bound_tag(each, field) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    return {
        key: bound_schema(each, field)
        if key in ("json_schema", "schema") and isinstance(each, dict | bool)
        else _bound_tag(each, field)
        for key, each in cast("dict[str, Any]", value).items()
    }


def _check_values(root: Any, field: str) -> None:
    left: list[tuple[int, Any]] = [(1, root)]
    while left:
        depth, value = left.pop()
        if depth > DEPTH_MAX:
            raise InvalidRequest(
                f"{field} has more than {DEPTH_MAX} levels of objects and arrays.", param=field
            )
        if isinstance(value, str) and "\0" in value:
            raise InvalidRequest(f"{field} must not contain NUL characters.", param=field)
        if isinstance(value, dict):
            left.extend((depth, key) for key in cast("dict[str, Any]", value))
            left.extend((depth + 1, child) for child in cast("dict[str, Any]", value).values())
        elif isinstance(value, list):
            left.extend((depth + 1, child) for child in cast("list[Any]", value))
