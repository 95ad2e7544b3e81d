"""A request to /generate becomes the completions that it asks for."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from msgspec import UnsetType

from frontend.api.fields.nvext import NvExt
from frontend.api.fields.schemas import CompletionRequest
from frontend.api.native.schemas import (
    NEW_TOKENS_DEFAULT,
    OFF_ONLY,
    GenerateRequest,
    SamplingParams,
)
from protocol.errors import InvalidRequest, UnsupportedParameter
from protocol.tokens import count_tokens

T = TypeVar("T")

PARAM_NAMES: Final = {
    "max_tokens": "sampling_params.max_new_tokens",
    "min_tokens": "sampling_params.min_new_tokens",
    "seed": "sampling_params.sampling_seed",
    "logprobs": "return_logprob",
    **{
        name: f"sampling_params.{name}"
        for name in ("n", "stop", "stop_token_ids", "stop_regex", "logit_bias", "custom_params")
    },
    **{
        name: f"sampling_params.{name}"
        for name in ("json_schema", "regex", "ebnf", "structural_tag")
    },
    **{
        name: f"sampling_params.{name}"
        for name in (
            *("temperature", "top_p", "top_k", "min_p"),
            *("frequency_penalty", "presence_penalty", "repetition_penalty"),
        )
    },
}
"""Maps a field of the completions request to the field of /generate, but for the prompt, which has
two names.
"""

_AS_IN_COMPLETIONS: Final = (
    *(
        "n",
        "stop",
        "stop_token_ids",
        "stop_regex",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
    ),
    *(
        "repetition_penalty",
        "ignore_eos",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "no_stop_trim",
        "logit_bias",
    ),
    *("custom_params", "json_schema", "regex", "ebnf", "structural_tag"),
)


_NEUTRAL: Final[Mapping[str, Any]] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}
"""Holds SGLang's defaults, for what is left open, and not the model's own as on OpenAI's paths:
what is sampled must not depend on a file.
"""


def completion_of(request: GenerateRequest, model: str) -> CompletionRequest:
    """Returns the completions that a request to /generate asks for, without how many tokens they
    may have.

    Raises:
        UnsupportedParameter: naming what cannot be honoured.
        InvalidRequest: fields that contradict each other.
    """
    for name in OFF_ONLY:
        if getattr(request, name):
            raise UnsupportedParameter(f"{name} is not supported.", param=name)
    if (request.text is None) == (request.input_ids is None):
        raise InvalidRequest("Either text or input_ids must be given.", param="text")
    sampling = sampling_of(request)
    logprobs = (request.top_logprobs_num or 0) if request.return_logprob else None
    return CompletionRequest(
        model=model,
        prompt=request.text if request.text is not None else request.input_ids or [],  # pyright: ignore[reportArgumentType]
        stream=request.stream,
        min_tokens=sampling.min_new_tokens,
        seed=sampling.sampling_seed,
        logprobs=logprobs,
        echo=logprobs is not None and _starts_in_prompt(request),
        lora_path=_only(request.lora_path, "lora_path")
        if isinstance(request.lora_path, list)
        else request.lora_path,
        priority=request.priority,
        extra_key=request.extra_key,
        nvext=_wishes(request),
        **{name: _sampled(sampling, name) for name in _AS_IN_COMPLETIONS},
    )


def sampling_of(request: GenerateRequest) -> SamplingParams:
    """Returns the sampling that all prompts of a request share.

    Raises:
        UnsupportedParameter: they do not share it.
    """
    given = request.sampling_params
    return _only(given, "sampling_params") if isinstance(given, list) else given or SamplingParams()


def new_tokens_of(sampling: SamplingParams, context_length: int, prompts: Sequence[bytes]) -> int:
    """Returns how many tokens may be generated of each prompt: where the client leaves it open, as
    many as the longest prompt has room for.

    A prompt without any room is the matter of whoever runs it.
    """
    room = max(1, context_length - max(count_tokens(prompt) for prompt in prompts))
    if isinstance(sampling.max_new_tokens, UnsetType):
        return min(room, NEW_TOKENS_DEFAULT)
    return room if sampling.max_new_tokens is None else sampling.max_new_tokens


def _sampled(sampling: SamplingParams, name: str) -> Any:
    asked = getattr(sampling, name)
    return _NEUTRAL.get(name) if asked is None else asked


def _starts_in_prompt(request: GenerateRequest) -> bool:
    return request.logprob_start_len is not None and request.logprob_start_len >= 0


def _wishes(request: GenerateRequest) -> NvExt | None:
    rank = (
        request.routed_dp_rank if request.routed_dp_rank is not None else request.data_parallel_rank
    )
    return (
        None
        if rank is None and request.session_id is None
        else NvExt(dp_rank=rank, session_id=request.session_id)
    )


def _only(values: Sequence[T], name: str) -> T:
    first: Any = values[0]
    if any(value != first for value in values):
        raise UnsupportedParameter(
            f"All prompts of a batch must have the same {name}; send them apart.", param=name
        )
    return first
