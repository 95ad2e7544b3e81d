"""The bodies of /v1/messages and /v1/messages/count_tokens are declared here, with Anthropic's
field names.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Raw, Struct

from frontend.api.fields.nvext import Label, NvExt, Share
from frontend.api.fields.schemas import (
    MESSAGES_MAX,
    TOKENS_MAX,
    TOOLS_MAX,
    Model,
    Penalty,
    Priority,
    RepetitionPenalty,
    Seed,
    StopString,
    TemplateKwargs,
    TokenCount,
)
from protocol.limits import STOPS_MAX

BLOCKS_MAX = 10_000
"""One message may have so many content blocks."""

THINKING_TOKENS_MIN = 1_024


REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "container": "nothing is run here but the model",
        "diagnostics": "nothing is kept that could be compared",
        "inference_geo": "there is one place",
        "mcp_servers": "no tools are run here; offer them as tools of your own",
        "output_config.task_budget": "only max_tokens bounds an answer",
        "speed": "there is one speed",
    }
)
"""Maps a field of Anthropic's that is known and not honoured to the reason."""


class Block(Struct, frozen=True, tag_field="type"):
    """A Block is a piece of a message's content.

    `cache_control` is accepted everywhere: prefixes are cached without being asked for.
    """


class TextBlock(Block, tag="text", frozen=True):
    """A TextBlock is a text within a message."""

    text: str


class ThinkingBlock(Block, tag="thinking", frozen=True):
    """A ThinkingBlock is what the model thought in an earlier turn."""

    thinking: str
    signature: str | None = None


class ToolUseBlock(Block, tag="tool_use", frozen=True):
    """A ToolUseBlock is a call of a tool."""

    id: str
    name: str
    input: dict[str, Any]


class RedactedThinkingBlock(Block, tag="redacted_thinking", frozen=True):
    """A RedactedThinkingBlock is ignored: only who encrypted it can read it."""


class ImageBlock(Block, tag="image", frozen=True):
    """An ImageBlock is a picture, whose source is base64 or a URL."""

    source: dict[str, Any]


class DocumentBlock(Block, tag="document", frozen=True):
    """A DocumentBlock is a document, whose source must be text."""

    source: dict[str, Any]
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Block, tag="search_result", frozen=True):
    """A SearchResultBlock is what a search has found, as text."""

    source: str
    title: str
    content: Annotated[list[TextBlock], Meta(max_length=BLOCKS_MAX)]


class ToolReferenceBlock(Block, tag="tool_reference", frozen=True):
    """A ToolReferenceBlock says that from here on the model knows a tool whose loading was
    deferred.
    """

    tool_name: str


ToldBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock
"""A ToldBlock is a block that a tool's result may have."""


class ToolResultBlock(Block, tag="tool_result", frozen=True):
    """A ToolResultBlock is what a tool's call came to. `is_error` is accepted: templates have no
    place for it, so that the content must say what went wrong.
    """

    tool_use_id: str
    content: str | Annotated[list[ToldBlock], Meta(max_length=BLOCKS_MAX)] | None = None
    is_error: bool | None = None


ContentBlock = ToldBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock | RedactedThinkingBlock


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """A Message is one turn of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[ContentBlock], Meta(max_length=BLOCKS_MAX)]


class Tool(Struct, frozen=True, forbid_unknown_fields=True):
    """A Tool is a tool of the client's own.

    `type` names Anthropic's, most of which run on its servers.
    """

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    input_schema: dict[str, Any] | None = None
    description: str | None = None
    type: str | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None
    eager_input_streaming: bool | None = None
    """Changes nothing: arguments are streamed as they are made in any case."""
    defer_loading: bool | None = None
    """Keeps the tool from the model until a tool_reference names it."""
    input_examples: Annotated[list[dict[str, Any]], Meta(max_length=128)] | None = None
    """Are told as the `examples` of the tool's schema."""
    allowed_callers: Annotated[list[str], Meta(max_length=16)] | None = None
    """Says who may call the tool: what only code on Anthropic's servers may call is left out."""


class ToolChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """A ToolChoice says which of the tools may or must be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True, forbid_unknown_fields=True):
    """Thinking says whether the model is to think before it answers."""

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: Annotated[int, Meta(ge=THINKING_TOKENS_MIN, le=TOKENS_MAX)] | None = None
    """Is a target, as the engine cannot be held to it; `max_tokens` bounds thinking and answer
    together.
    """
    display: Literal["summarized", "omitted"] | None = None
    """Leaves the text of the thinking out if it is "omitted"."""


class JsonFormat(Struct, frozen=True, forbid_unknown_fields=True):
    """A JsonFormat holds the answer to a JSON schema."""

    type: Literal["json_schema"]
    schema: Raw


class OutputConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """An OutputConfig says how hard to think and what form the answer has."""

    effort: Literal["minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Metadata(Struct, frozen=True, forbid_unknown_fields=True):
    """Metadata names the client's own user, without effect."""

    user_id: Annotated[str, Meta(max_length=1_024)] | None = None


class CountTokensRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CountTokensRequest is the body of POST /v1/messages/count_tokens."""

    model: Model
    messages: Annotated[list[Message], Meta(min_length=1, max_length=MESSAGES_MAX)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[Tool], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    """Is the older name of output_config.format."""
    cache_control: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    """Asks for edits of the context that Anthropic's servers make.

    None are made here, and the answer says so.
    """
    betas: Annotated[list[str], Meta(max_length=256)] | None = None
    """Names what Anthropic's SDKs send as a header, without effect in either form."""
    # How to generate, which makes no difference to the count
    max_tokens: TokenCount | None = None
    stream: bool | None = None
    stop_sequences: Annotated[list[StopString], Meta(max_length=STOPS_MAX)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    # Extensions
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    seed: Seed | None = None
    lora_path: Label | None = None
    cache_salt: Label | None = None
    priority: Priority | None = None
    chat_template_kwargs: TemplateKwargs | None = None
    nvext: NvExt | None = None


class MessagesRequest(CountTokensRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A MessagesRequest is the body of POST /v1/messages."""

    max_tokens: TokenCount  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
