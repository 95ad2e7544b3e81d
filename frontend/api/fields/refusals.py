"""What OpenAI, SGLang, vLLM or Dynamo know and this server does not do is refused, never silently
dropped.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.fields.tools import check_tools
from frontend.http.ignored import REFUSING, Ignored
from protocol.errors import InvalidRequest, UnsupportedParameter

_OWN_ID: Final = "request ids are made here; send the header x-request-id to name one in logs"
_OWN_FILES: Final = "files and code on the server are its operator's matter"
_LEGS: Final = "how engines work together is arranged by the server"
_MEDIA: Final = "media belong into the messages of a chat"
_RANKS: Final = "use nvext.dp_rank or the header x-dp-rank"
_SEARCH: Final = "there is no beam search here"
VERBOSITY_FIXED: Final = "it can only be 'medium' with the models served here"

REFUSED_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # OpenAI
        "audio": "no audio is made here",
        "functions": "use tools",
        "moderation": "nothing is moderated here",
        "function_call": "use tool_choice",
        "prediction": "predicted outputs are not supported",
        "web_search_options": "nothing is searched here; offer a tool instead",
        # SGLang
        "rid": _OWN_ID,
        "token_ids_logprob": "ask for top_logprobs",
        "custom_logit_processor": _OWN_FILES,
        "chat_template": "a template is code; the operator sets it with --custom-jinja-template",
        "lora_id": "name the adapter in lora_path or model",
        "bootstrap_host": _LEGS,
        "bootstrap_port": _LEGS,
        "bootstrap_room": _LEGS,
        "bootstrap_pair_key": _LEGS,
        "disagg_prefill_dp_rank": _LEGS,
        "data_parallel_rank": _RANKS,
        "routed_dp_rank": _RANKS,
        "image_data": _MEDIA,
        "video_data": _MEDIA,
        "audio_data": _MEDIA,
        "input_embeds": "prompts are text or token ids",
        "session_params": (
            "every request brings its whole prompt; what was computed of it is found again by "
            "itself"
        ),
        "return_hidden_states": "hidden states are not told",
        "return_routed_experts": "routed experts are not told",
        "http_worker_ipc": _LEGS,
        # vLLM
        "use_beam_search": _SEARCH,
        "length_penalty": _SEARCH,
        "early_stopping": _SEARCH,
        "logprob_token_ids": "ask for top_logprobs",
        "allowed_token_ids": "use logit_bias, or a grammar",
        "bad_words": "use logit_bias",
        "truncate_prompt_tokens": "a prompt is never cut here",
        "documents": "put them into the messages",
        "mm_processor_kwargs": _MEDIA,
        "kv_transfer_params": _LEGS,
        # Dynamo
        "nvext.greed_sampling": "set temperature to 0",
        "nvext.use_raw_prompt": "/v1/completions takes prompts as they are",
        "nvext.token_data": "/v1/completions takes token ids as prompt",
        "nvext.routing_constraints": "name a worker in nvext.backend_instance_id",
    }
)
"""Maps a field that is known and not honoured to the reason, or to what does it here.

Unless it asks for nothing or is harmless, each is refused, whatever --unknown-fields says.
"""

HARMLESS: Final = frozenset(
    {
        *("rid", "prediction", "mm_processor_kwargs", "max_tool_calls", "context_management"),
        *("diagnostics", "speed", "output_config.task_budget", "sampling_params.stream_interval"),
    }
)
"""Names refused fields without which the answer is the same, or as good as a model's that was given
the hint: ignored where unknown fields are.
"""

_NOTHING: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "length_penalty": (1.0,),
        "function_call": ("none", "auto"),  # what may be called is said by functions
        "kv_transfer_params": ({},),
        "speed": ("standard",),
        "inference_geo": ("global",),
        "sampling_params.stream_interval": (1,),
    }
)
"""Maps a field to values that ask for nothing, beside null, false, "" and []."""


def asks_for_nothing(field: str, value: Any) -> bool:
    """Tells whether a refused field has a value with which everything is as it would be without."""
    return value is None or value is False or value in ("", []) or value in _NOTHING.get(field, ())


def refuse_unsupported_chat(request: ChatCompletionRequest, ignored: Ignored = REFUSING) -> None:
    """Raises for what cannot be honoured of a chat.

    Args:
        ignored: takes wishes without which the answer is as good.
    Raises:
        UnsupportedParameter: naming the field.
        InvalidRequest: fields that contradict each other.
    """
    _refuse_common(request)
    check_tools(request)
    if request.modalities not in (None, ["text"]):
        raise UnsupportedParameter(
            "modalities must be ['text']: only text is made here.", param="modalities"
        )
    if request.verbosity not in (None, "medium"):
        ignored.add("verbosity", VERBOSITY_FIXED)
    if request.prompt_cache_retention == "24h":
        ignored.add("prompt_cache_retention", "it can only be 'in-memory' here")
    if request.top_logprobs and not request.logprobs:
        raise InvalidRequest(
            "top_logprobs is only allowed when logprobs is true.", param="top_logprobs"
        )
    if request.add_generation_prompt and request.continue_final_message:
        raise InvalidRequest(
            "add_generation_prompt and continue_final_message exclude each other.",
            param="continue_final_message",
        )


def refuse_unsupported_completion(request: CompletionRequest) -> None:
    """Raises for what cannot be honoured of completions, as `refuse_unsupported_chat` does."""
    _refuse_common(request)
    if request.suffix:
        raise UnsupportedParameter(
            "suffix is not supported: nothing is inserted into a text here.", param="suffix"
        )
    if request.best_of is not None and request.best_of != (request.n or 1):
        raise UnsupportedParameter(
            (
                "best_of must equal n: every choice that is made is returned. Ask for logprobs "
                "to rank."
            ),
            param="best_of",
        )


def _refuse_common(request: ChatCompletionRequest | CompletionRequest) -> None:
    if request.stream_options is not None:
        if not request.stream:
            raise InvalidRequest(
                "stream_options is only allowed when stream is true.", param="stream_options"
            )
        if request.stream_options.include_obfuscation:
            raise UnsupportedParameter(
                "Chunks are not padded here.", param="stream_options.include_obfuscation"
            )
    if request.prompt_logprobs is not None and request.stream:
        raise InvalidRequest(
            "prompt_logprobs are told in whole answers, not in streams.", param="prompt_logprobs"
        )
    _ = request.salt  # raises what is wrong with it
