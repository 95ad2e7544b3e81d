"""The bodies that OpenAI's clients send are declared here.

Field names are OpenAI's; those below a comment are the extensions that SGLang, vLLM and Dynamo
share.

Bounds are here so that the OpenAPI document shows them. Whatever is declared is honoured or
refused: `refusals.py` names what a later version will honour.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from frontend.api.fields.grammar_fields import GrammarFields
from frontend.api.fields.nvext import ExtraField, Label, NvExt, Share, ThinkingTokens
from frontend.api.fields.salts import one_salt
from protocol.limits import (
    CUSTOM_PARAMS_MAX,
    NAME_CHARS_MAX,
    STOP_CHARS_MAX,
    STOP_TOKEN_IDS_MAX,
    STOPS_MAX,
    TOP_LOGPROBS_MAX,
)
from protocol.text.stop_patterns import PATTERN_BYTES_MAX

TOKENS_MAX = 2**31 - 1
"""Is far above any context, and keeps the number inside an i32 everywhere."""

CHOICES_PER_REQUEST_MAX = 128
MESSAGES_MAX = 10_000
TOOLS_MAX = 512
PROMPTS_MAX = 1_024
"""One completions request may have so many prompts."""

Model = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
TokenCount = Annotated[int, Meta(ge=1, le=TOKENS_MAX)]
TokenId = Annotated[int, Meta(ge=0, le=2**32 - 1)]
StopString = Annotated[str, Meta(min_length=1, max_length=STOP_CHARS_MAX)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
StopPattern = Annotated[str, Meta(min_length=1, max_length=PATTERN_BYTES_MAX)]
MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]
KwargName = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
KwargText = Annotated[str, Meta(max_length=8_192)]
TemplateKwargs = Annotated[
    dict[KwargName, KwargText | int | float | bool | None], Meta(max_length=32)
]
"""TemplateKwargs are what a chat template is told beside the messages.

It goes to the worker too, whose parsers go by it, with each choice.
"""
TopK = Annotated[int, Meta(ge=-1, le=TOKENS_MAX)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
RepetitionPenalty = Annotated[float, Meta(ge=0.01, le=2)]
"""A RepetitionPenalty divides logits; by numbers near zero they become infinite, and an engine dies
of that.
"""
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Priority = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """StreamOptions say what a stream tells beside its text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None
    """Has every chunk tell the counts so far, of all choices together, if include_usage is set."""
    include_obfuscation: bool | None = None
    """Asks for padding against whoever watches the lengths of encrypted chunks; refused if true."""


class SamplingFields(GrammarFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SamplingFields are what requests for chats and completions have in common."""

    model: Model
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1, le=CHOICES_PER_REQUEST_MAX)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Share | None = None
    """Leaves the likeliest token alone if it is 0, as with OpenAI."""
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=STOPS_MAX)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    user: Annotated[str, Meta(max_length=1_024)] | None = None
    # Extensions
    top_k: TopK | None = None
    min_p: Share | None = None
    repetition_penalty: RepetitionPenalty | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=STOP_TOKEN_IDS_MAX)] | None = None
    include_stop_str_in_output: bool | None = None
    no_stop_trim: bool | None = None
    """Is SGLang's name of include_stop_str_in_output."""
    stop_regex: StopPattern | Annotated[list[StopPattern], Meta(max_length=STOPS_MAX)] | None = None
    """Ends the text behind a match, which is shown (stop_patterns)."""
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    """Makes no difference with tokenizers of the tokenizers library, the only ones served here."""
    custom_params: Annotated[dict[str, Any], Meta(max_length=CUSTOM_PARAMS_MAX)] | None = None
    """Are handed on as they are, for an engine that was extended."""
    priority: Priority | None = None
    lora_path: Label | None = None
    """Names a LoRA adapter, by the name it was loaded under."""
    return_tokens_as_token_ids: bool | None = None
    """Has log probabilities name tokens as `token_id:ID`."""
    return_token_ids: bool | None = None
    """Has the answer bear `prompt_token_ids`, and its choices `token_ids` (vLLM)."""
    prompt_logprobs: Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_MAX)] | None = None
    """Has whole answers tell the log probabilities of the prompt's tokens and of so many likeliest
    ones beside each (vLLM).
    """
    return_cached_tokens_details: bool | None = None
    """Has the answer bear `sglext.cached_tokens_details`: where the cached tokens of its prompt
    were (SGLang).
    """
    add_special_tokens: bool | None = None
    """Adds the tokenizer's special tokens: by default true for a prompt and false for messages,
    whose template writes them.
    """
    cache_salt: Label | None = None
    """Keeps KV caches apart: requests with different salts share none."""
    extra_key: Label | None = None
    """Is SGLang's name of cache_salt; whoever sets both, or nvext's too, is apart from those who
    set one (salts.py).
    """
    nvext: NvExt | None = None

    @property
    def shows_stop(self) -> bool:
        """Tells whether the stop string that ends the text is shown."""
        return bool(self.include_stop_str_in_output or self.no_stop_trim)

    @property
    def salt(self) -> str | None:
        """Returns what keeps the request's KV cache apart.

        Raises:
            InvalidRequest: as `one_salt`.
        """
        if self.cache_salt is None and self.extra_key is None and self.nvext is None:
            return None
        return one_salt(
            None if self.nvext is None else self.nvext.cache_salt, self.cache_salt, self.extra_key
        )

    @property
    def wants_told(self) -> list[ExtraField] | None:
        """Returns what the answer's `nvext` is to tell."""
        return None if self.nvext is None else self.nvext.extra_fields

    @property
    def wants_usage(self) -> bool:
        """Tells whether a stream is to end with the token counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def wants_usage_always(self) -> bool:
        """Tells whether every chunk of a stream is to tell the token counts so far."""
        return (
            self.wants_usage
            and self.stream_options is not None
            and bool(self.stream_options.continuous_usage_stats)
        )


class ChatCompletionRequest(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ChatCompletionRequest is the body of POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MESSAGES_MAX)]
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    tools: Annotated[list[dict[str, Any]], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=16)] | None = None
    store: bool | None = None
    """Is accepted without effect, as user, metadata, safety_identifier and the cache keys are:
    nothing is kept here, and routing goes by the prompt itself.
    """
    safety_identifier: Annotated[str, Meta(max_length=1_024)] | None = None
    prompt_cache_key: Annotated[str, Meta(max_length=1_024)] | None = None
    prompt_cache_retention: Literal["in-memory", "in_memory", "24h"] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority"] | None = None
    """Changes nothing: there is one tier, and the answer says so: "default"."""
    modalities: Annotated[list[Literal["text", "audio"]], Meta(max_length=2)] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    reasoning_effort: ReasoningEffort | None = None
    # Extensions
    separate_reasoning: bool | None = None
    """Leaves the thinking in the content if it is false."""
    stream_reasoning: bool | None = None
    thinking_token_budget: ThinkingTokens | None = None
    """Bounds the tokens of thinking (vLLM), where workers can do that (thinking.py)."""
    max_thinking_tokens: ThinkingTokens | None = None
    """Is SGLang's name of thinking_token_budget; nvext.max_thinking_tokens is Dynamo's."""
    include_reasoning: bool | None = None
    """Leaves the thinking out of the answer if it is false (vLLM)."""
    chat_template_kwargs: TemplateKwargs | None = None
    chat_template_args: TemplateKwargs | None = None
    """Is Dynamo's name of chat_template_kwargs; what both set is as those say."""
    echo: bool | None = None
    """Has an answer that goes on from the assistant's last message begin with it (vLLM)."""
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None


class CompletionRequest(SamplingFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A CompletionRequest is the body of POST /v1/completions."""

    prompt: str | list[str | TokenId | Annotated[list[TokenId], Meta(min_length=1)]]
    """Holds one prompt or several, as text or as token ids; a list mixes no kinds."""
    max_tokens: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] | None = None
    """Bounds the new tokens. 0 generates none: what is asked is the prompt's log probabilities."""
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Meta(ge=1, le=CHOICES_PER_REQUEST_MAX)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
