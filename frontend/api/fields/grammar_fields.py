"""The fields that say what an answer must look like, under all of their names."""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from protocol.limits import GRAMMAR_BYTES_MAX

PATTERN_CHARS_MAX: Final = 16_384
"""Of a regular expression. Compiling is quadratic in its length."""

GRAMMAR_ALTERNATIVES_MAX: Final = 1_024
CHOICE_CHARS_MAX: Final = 1_024

Pattern = Annotated[str, Meta(min_length=1, max_length=PATTERN_CHARS_MAX)]
GrammarText = Annotated[str, Meta(min_length=1, max_length=GRAMMAR_BYTES_MAX)]
GuidedChoice = Annotated[str, Meta(min_length=1, max_length=CHOICE_CHARS_MAX)]


class NamedSchema(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenAI's name, description and strictness are read and change nothing."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    schema: Raw
    description: str | None = None
    strict: bool | None = None


class TextFormat(Struct, frozen=True, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Any text."""


class JsonObjectFormat(
    Struct, frozen=True, tag="json_object", tag_field="type", forbid_unknown_fields=True
):
    """Any JSON object."""


class JsonSchemaFormat(
    Struct, frozen=True, tag="json_schema", tag_field="type", forbid_unknown_fields=True
):
    """JSON of one schema."""

    json_schema: NamedSchema


class StructuralTagFormat(
    Struct, frozen=True, tag="structural_tag", tag_field="type", forbid_unknown_fields=True
):
    """SGLang's: text of which some parts conform.

    Either `format`, or the older `structures` and `triggers`.
    """

    format: dict[str, Any] | None = None
    structures: list[dict[str, Any]] | None = None
    triggers: list[str] | None = None
    at_least_one: bool | None = None


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat | StructuralTagFormat


class StructuredOutputs(Struct, frozen=True, forbid_unknown_fields=True):
    """vLLM's newer form of what is called guided_* below; at most one of these says something."""

    json: Raw | UnsetType = UNSET
    """A schema, or its text."""
    regex: Pattern | None = None
    choice: (
        Annotated[list[GuidedChoice], Meta(min_length=1, max_length=GRAMMAR_ALTERNATIVES_MAX)]
        | None
    ) = None
    grammar: GrammarText | None = None
    json_object: bool | None = None
    structural_tag: GrammarText | None = None


class GrammarFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of a request that says what its answer must look like."""

    response_format: ResponseFormat | None = None
    # Extensions: vLLM's and Dynamo's
    guided_json: Raw | UnsetType = UNSET
    """A schema, or its text."""
    guided_regex: Pattern | None = None
    guided_choice: (
        Annotated[list[GuidedChoice], Meta(min_length=1, max_length=GRAMMAR_ALTERNATIVES_MAX)]
        | None
    ) = None
    guided_grammar: GrammarText | None = None
    """EBNF."""
    structured_outputs: StructuredOutputs | None = None
    # Extensions: SGLang's
    json_schema: GrammarText | None = None
    """The schema's text."""
    regex: Pattern | None = None
    ebnf: GrammarText | None = None
    structural_tag: GrammarText | None = None
    """The tag's JSON text."""
