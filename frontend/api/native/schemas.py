"""The body of /generate is declared here.

Field names are SGLang's (GenerateReqInput, SamplingParams); what is not here is refused by name.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from frontend.api.fields.grammar_fields import GrammarText, Pattern
from frontend.api.fields.nvext import Label, Share
from frontend.api.fields.refusals import REFUSED_FIELDS as REFUSED_EVERYWHERE
from frontend.api.fields.schemas import (
    CHOICES_PER_REQUEST_MAX,
    PROMPTS_MAX,
    TOKENS_MAX,
    Model,
    Penalty,
    Priority,
    RepetitionPenalty,
    Seed,
    StopPattern,
    StopString,
    TokenId,
    TopK,
)
from protocol.limits import (
    CUSTOM_PARAMS_MAX,
    DP_RANKS_MAX,
    STOP_TOKEN_IDS_MAX,
    STOPS_MAX,
    TOP_LOGPROBS_MAX,
)

NEW_TOKENS_DEFAULT: Final = 128
"""A request to /generate gets so many new tokens if it says nothing, as with SGLang."""

_LAYERS: Final = "nothing but tokens and their log probabilities is told"

_CHATS: Final = "videos and sounds go with /v1/chat/completions"

REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{
            name: why
            for name, why in REFUSED_EVERYWHERE.items()
            if name not in ("rid", "data_parallel_rank", "routed_dp_rank", "image_data")
        },
        "token_ids_logprob": "ask for top_logprobs_num",
        "return_sampling_mask": _LAYERS,
        "sampling_logprobs_mode": _LAYERS,
        "video_data": _CHATS,
        "audio_data": _CHATS,
        "mm_hashes": "what a picture is known by is made of its bytes",
        "mm_content_hashes": "what a picture is known by is made of its bytes",
        "modalities": "each picture of image_data is one",
        "positional_embed_overrides": "prompts are text or token ids",
        "max_thinking_tokens": "the length of the thinking cannot be bounded",
        "watermark": "answers bear no marks",
        "sampling_params.beam_width": "there is no beam search here",
        "sampling_params.stream_interval": "how often tokens are sent is the server's matter",
        "sampling_params.watermark": "answers bear no marks",
    }
)
"""Maps a field of /generate that is known and not honoured to the reason."""

OFF_ONLY: Final = (
    *(
        "return_hidden_states",
        "return_routed_experts",
        "return_indexer_topk",
        "background",
        "require_reasoning",
        "use_audio_in_video",
    ),
    *(
        "return_flat_raw_top_logprobs",
        "return_flat_raw_output_top_logprobs",
        "return_flat_raw_top_logprobs_b64",
    ),
)
"""Names the switches that clients send in their off position, and that are refused in the other."""

Count = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
Rank = Annotated[int, Meta(ge=0, lt=DP_RANKS_MAX)]


class SamplingParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SamplingParams say how the tokens of a request to /generate are chosen, and when they end."""

    max_new_tokens: Count | UnsetType | None = UNSET
    """Bounds the new tokens. Absent: as many as NEW_TOKENS_DEFAULT and the context allow.

    None: to the end of the context. 0: nothing, for the log probabilities of the prompt.
    """
    min_new_tokens: Count | None = None
    n: Annotated[int, Meta(ge=1, le=CHOICES_PER_REQUEST_MAX)] | None = None
    stop: StopString | Annotated[list[StopString], Meta(max_length=STOPS_MAX)] | None = None
    stop_token_ids: Annotated[list[TokenId], Meta(max_length=STOP_TOKEN_IDS_MAX)] | None = None
    stop_regex: StopPattern | Annotated[list[StopPattern], Meta(max_length=STOPS_MAX)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: TopK | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: RepetitionPenalty | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    no_stop_trim: bool | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    sampling_seed: Seed | None = None
    custom_params: Annotated[dict[str, Any], Meta(max_length=CUSTOM_PARAMS_MAX)] | None = None
    json_schema: GrammarText | None = None
    regex: Pattern | None = None
    ebnf: GrammarText | None = None
    structural_tag: GrammarText | None = None


class GenerateRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GenerateRequest is the body of POST /generate, with either `text` or `input_ids`; a list of
    either is a batch, whose sampling and adapter are the same for all.
    """

    text: str | Annotated[list[str], Meta(min_length=1, max_length=PROMPTS_MAX)] | None = None
    input_ids: list[TokenId | Annotated[list[TokenId], Meta(min_length=1)]] | None = None
    image_data: str | list[str] | None = None
    """Names the pictures of the one prompt, in the order of the tokens that stand for them there:
    URLs, data URLs or base64.
    """
    sampling_params: (
        SamplingParams
        | Annotated[list[SamplingParams], Meta(min_length=1, max_length=PROMPTS_MAX)]
        | None
    ) = None
    stream: bool = False
    return_logprob: bool | None = None
    logprob_start_len: Annotated[int, Meta(ge=-1, le=TOKENS_MAX)] | None = None
    """Has the prompt's log probabilities from this token on told too, if it is 0 or more."""
    top_logprobs_num: Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_MAX)] | None = None
    return_text_in_logprobs: bool | None = None
    rid: Label | Annotated[list[Label], Meta(max_length=PROMPTS_MAX)] | None = None
    """Is told back as `meta_info.id`; requests have names of their own within."""
    lora_path: (
        Label | Annotated[list[Label | None], Meta(min_length=1, max_length=PROMPTS_MAX)] | None
    ) = None
    priority: Priority | None = None
    extra_key: Label | None = None
    session_id: Label | None = None
    routed_dp_rank: Rank | None = None
    data_parallel_rank: Rank | None = None
    """Is the older name of routed_dp_rank."""
    log_metrics: bool | None = None
    no_logs: bool | None = None
    """Changes nothing: texts are not logged in any case."""
    model: Model | None = None
    """Names the model, an extension; it may be left out where one model is served."""
    return_hidden_states: bool | None = None
    return_routed_experts: bool | None = None
    return_indexer_topk: bool | None = None
    background: bool | None = None
    require_reasoning: bool | None = None
    use_audio_in_video: bool | None = None
    return_flat_raw_top_logprobs: bool | None = None
    return_flat_raw_output_top_logprobs: bool | None = None
    return_flat_raw_top_logprobs_b64: bool | None = None
