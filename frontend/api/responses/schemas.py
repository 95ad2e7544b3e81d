"""The body of /v1/responses is declared here, with OpenAI's field names."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from frontend.api.fields.grammar_fields import JsonObjectFormat, NamedSchema, TextFormat
from frontend.api.fields.nvext import Label, NvExt, Share
from frontend.api.fields.schemas import (
    MESSAGES_MAX,
    TOOLS_MAX,
    MetadataKey,
    MetadataValue,
    Model,
    Penalty,
    Priority,
    ReasoningEffort,
    RepetitionPenalty,
    Seed,
    StopString,
    StreamOptions,
    TemplateKwargs,
    TokenCount,
    TopK,
)
from protocol.limits import STOPS_MAX

_STATELESS: Final = "nothing is stored here; send the whole conversation as input"

REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "conversation": _STATELESS,
        "max_tool_calls": "no tools are run here",
        "moderation": "nothing is moderated here",
        "previous_response_id": _STATELESS,
        "prompt": "no prompt templates are stored here; send their text as instructions and input",
        "context_management": "the context is the client's; what is sent is what the model reads",
    }
)
"""Maps a field of /v1/responses that is known and not honoured to the reason."""

Id = Annotated[str, Meta(max_length=256)]


class Reasoning(Struct, frozen=True, forbid_unknown_fields=True):
    """Reasoning says how hard the model is to think."""

    effort: ReasoningEffort | None = None
    summary: str | None = None
    """Changes nothing: the thinking itself is in the answer, and no summary."""
    generate_summary: str | None = None
    """Is the older name of summary."""


class FlatSchemaFormat(
    NamedSchema, frozen=True, tag="json_schema", tag_field="type", forbid_unknown_fields=True
):
    """A FlatSchemaFormat holds the answer to a JSON schema, whose name stands beside it."""


class TextOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """TextOptions say what form the answer's text has."""

    format: TextFormat | JsonObjectFormat | FlatSchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class OfferedTool(Struct, frozen=True):
    """An OfferedTool is a function or custom tool of the client's own."""

    type: Literal["function", "custom"]
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None
    format: dict[str, Any] | None = None
    """Says what the input of a custom tool looks like."""


class ResponsesRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ResponsesRequest is the body of POST /v1/responses."""

    model: Model
    input: str | Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MESSAGES_MAX)]
    instructions: str | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: TokenCount | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    include: Annotated[list[str], Meta(max_length=16)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    client_metadata: dict[str, Any] | None = None
    """Is what Codex tells of itself, without effect."""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)] | None = None
    store: bool | None = None
    """Is accepted without effect: nothing is stored, and the answer says so."""
    background: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    user: Annotated[str, Meta(max_length=1_024)] | None = None
    safety_identifier: Annotated[str, Meta(max_length=1_024)] | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=1_024)] | None = None
    prompt_cache_retention: Literal["in-memory", "in_memory", "24h"] | None = None
    # Extensions, as in chat
    top_k: TopK | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    seed: Seed | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=STOPS_MAX)] | None = None
    ignore_eos: bool | None = None
    chat_template_kwargs: TemplateKwargs | None = None
    priority: Priority | None = None
    lora_path: Label | None = None
    cache_salt: Label | None = None
    nvext: NvExt | None = None
