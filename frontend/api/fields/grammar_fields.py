"""Some fields say what an answer must look like, under several names each."""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from protocol.limits import GRAMMAR_BYTES_MAX

PATTERN_CHARS_MAX: Final = 16_384
"""A regular expression may have so many characters. Compiling is quadratic in its length."""

GRAMMAR_ALTERNATIVES_MAX: Final = 1_024
CHOICE_CHARS_MAX: Final = 1_024

Pattern = Annotated[str, Meta(min_length=1, max_length=PATTERN_CHARS_MAX)]
GrammarText = Annotated[str, Meta(min_length=1, max_length=GRAMMAR_BYTES_MAX)]
GuidedChoice = Annotated[str, Meta(min_length=1, max_length=CHOICE_CHARS_MAX)]


class NamedSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """A NamedSchema is a JSON schema with OpenAI's name, description and strictness, which are read
    and change nothing.
    """

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    schema: Raw
    description: str | None = None
    strict: bool | None = None


class TextFormat(Struct, frozen=True, tag="text", tag_field="type", forbid_unknown_fields=True):
    """A TextFormat allows any text."""


class JsonObjectFormat(
    Struct, frozen=True, tag="json_object", tag_field="type", forbid_unknown_fields=True
):
    """A JsonObjectFormat holds the answer to any JSON object."""


class JsonSchemaFormat(
    Struct, frozen=True, tag="json_schema", tag_field="type", forbid_unknown_fields=True
):
    """A JsonSchemaFormat holds the answer to a JSON schema."""

    json_schema: NamedSchema


class StructuralTagFormat(
    Struct, frozen=True, tag="structural_tag", tag_field="type", forbid_unknown_fields=True
):
    """A StructuralTagFormat is SGLang's: it holds some parts of the text to a form.

    Either `format`, or the older `structures` and `triggers`.
    """

    format: dict[str, Any] | None = None
    structures: list[dict[str, Any]] | None = None
    triggers: list[str] | None = None
    at_least_one: bool | None = None


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat | StructuralTagFormat


class StructuredOutputs(Struct, frozen=True, forbid_unknown_fields=True):
    """StructuredOutputs are vLLM's newer form of the guided_* fields; at most one of them says
    something.
    """

    json: Raw | UnsetType = UNSET
    """Holds a schema, or its text."""
    regex: Pattern | None = None
    choice: (
        Annotated[list[GuidedChoice], Meta(min_length=1, max_length=GRAMMAR_ALTERNATIVES_MAX)]
        | None
    ) = None
    grammar: GrammarText | None = None
    json_object: bool | None = None
    structural_tag: GrammarText | None = None


class GrammarFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """GrammarFields are the part of a request that says what its answer must look like."""

    response_format: ResponseFormat | None = None
    # Extensions: vLLM's and Dynamo's
    guided_json: Raw | UnsetType = UNSET
    """Holds a schema, or its text."""
    guided_regex: Pattern | None = None
    guided_choice: (
        Annotated[list[GuidedChoice], Meta(min_length=1, max_length=GRAMMAR_ALTERNATIVES_MAX)]
        | None
    ) = None
    guided_grammar: GrammarText | None = None
    """Holds a grammar in EBNF."""
    structured_outputs: StructuredOutputs | None = None
    # Extensions: SGLang's
    json_schema: GrammarText | None = None
    """Holds a schema's text."""
    regex: Pattern | None = None
    ebnf: GrammarText | None = None
    structural_tag: GrammarText | None = None
    """Holds a structural tag's JSON text."""
