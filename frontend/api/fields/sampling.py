"""Request fields become what the engine is told and what the frontend itself watches for."""

from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec.structs import replace

from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.fields.stop_patterns import is_plain
from frontend.api.fields.thinking import thinking_budget
from frontend.text.output.choice_text import OutputRules
from protocol.errors import ContextOverflow, InvalidRequest
from protocol.generation import Generate, Sampling
from protocol.limits import LOGIT_BIAS_MAX, PRIORITY_MAX, STOPS_CHARS_MAX, STOPS_MAX
from protocol.membership import ModelCard
from protocol.text.stop_patterns import pattern_automaton

T = TypeVar("T")

TOKEN_ID_DIGITS_MAX = 10
"""A token id may have so many digits: a u32 has no more, and Python refuses to read a number of
thousands of digits.
"""

CUSTOM_PARAMS_BYTES_MAX: Final = 16 * 1024
"""A request's custom_params may have so many bytes of JSON, which travel to every process of the
engine.
"""

COMPLETION_TOKENS_DEFAULT = 16
"""A completion has so many tokens at most if its request says nothing, as with OpenAI; a chat runs
to the end of the context.
"""


def priority_of(asked: int | None) -> int:
    """Returns a client's priority as the fleet knows it: 0 where nothing is said, and no further
    from that than PRIORITY_MAX.
    """
    return min(max(asked or 0, -PRIORITY_MAX), PRIORITY_MAX)


def sampling_for(
    request: ChatCompletionRequest | CompletionRequest, card: ModelCard, prompt_tokens: int
) -> Sampling:
    """Returns the sampling of one choice.

    What the client leaves open comes from the model's generation_config, then OpenAI's defaults.

    Raises:
        ContextOverflow: prompt and completion do not fit the model's context.
        InvalidRequest: a token id outside the vocabulary, or more tokens wanted at least than at
        most.
    """
    defaults = card.defaults
    top_p = _first(request.top_p, defaults.top_p, 1.0)
    max_new_tokens = _max_new_tokens(request, card, prompt_tokens)
    min_new_tokens = request.min_tokens or 0
    if min_new_tokens > max_new_tokens:
        raise InvalidRequest(
            f"min_tokens ({min_new_tokens}) is larger than max_tokens ({max_new_tokens}).",
            param="min_tokens",
        )
    return Sampling(
        # an engine makes one at least; `output_rules` shows nothing of it
        max_new_tokens=max(max_new_tokens, 1),
        min_new_tokens=min_new_tokens,
        temperature=_first(request.temperature, defaults.temperature, 1.0),
        top_p=top_p or 1.0,
        top_k=_top_k(request.top_k, defaults.top_k) if top_p else 1,  # no engine takes a top_p of 0
        min_p=_first(request.min_p, defaults.min_p, 0.0),
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        repetition_penalty=_first(request.repetition_penalty, defaults.repetition_penalty, 1.0),
        seed=request.seed,
        ignore_eos=request.ignore_eos or False,
        stop_token_ids=_in_vocabulary(request.stop_token_ids, card),
        logit_bias=_logit_bias(request.logit_bias, card),
        stop_regex=stop_patterns(request),
        custom_params=_custom_params(request.custom_params) | thinking_budget(request, card),
    )


def sampling_of_choice(sampling: Sampling, index: int) -> Sampling:
    """Returns the sampling of a prompt's choice `index`: choice i of a request with a seed gets
    seed + i (wrapped into int64).

    With one seed for all, n choices would be n times the same text; as it is, the request as a
    whole can still be repeated.
    """
    if sampling.seed is None or not index:
        return sampling
    return replace(sampling, seed=(sampling.seed + index + 2**63) % 2**64 - 2**63)


def output_rules(request: ChatCompletionRequest | CompletionRequest) -> OutputRules:
    """Returns what the frontend goes by when it makes text of the tokens."""
    return OutputRules(
        stops=stop_strings(request),
        patterns=tuple(stop_patterns(request)),
        include_stop=request.shows_stop,
        skip_special_tokens=request.skip_special_tokens is not False,
        min_tokens=request.min_tokens or 0,
        shows_nothing=request.max_tokens == 0,
    )


def stop_strings(request: ChatCompletionRequest | CompletionRequest) -> tuple[str, ...]:
    """Returns the stop strings of a request, with those of its patterns that are plain text.

    Raises:
        InvalidRequest: they are too many or too long together.
    """
    if not (request.stop or request.stop_regex):
        return ()
    stops = (*_listed(request.stop), *filter(is_plain, _listed(request.stop_regex)))
    if len(stops) > STOPS_MAX:
        raise InvalidRequest(
            f"At most {STOPS_MAX} stop sequences are supported, got {len(stops)}.",
            param="stop_regex",
        )
    if sum(map(len, stops)) > STOPS_CHARS_MAX:
        raise InvalidRequest(
            f"All stop sequences together may have at most {STOPS_CHARS_MAX} characters.",
            param="stop",
        )
    return stops


def stop_patterns(request: ChatCompletionRequest | CompletionRequest) -> list[str]:
    """Returns the patterns of a request that are no stop strings.

    Raises:
        InvalidRequest: one is no regular expression, or they are too large.
    """
    if not request.stop_regex:
        return []
    patterns = [pattern for pattern in _listed(request.stop_regex) if not is_plain(pattern)]
    if patterns:
        pattern_automaton(tuple(patterns))  # the choices find it made
    return patterns


def _listed(stop: str | list[str] | None) -> list[str]:
    if stop is None:
        return []
    return [stop] if isinstance(stop, str) else stop


def shortened(request: Generate, new_tokens_max: int) -> Generate:
    """Returns the request with at most `new_tokens_max` new tokens."""
    sampling = request.sampling
    most = min(sampling.max_new_tokens, new_tokens_max)
    return replace(
        request,
        sampling=replace(
            sampling, max_new_tokens=most, min_new_tokens=min(sampling.min_new_tokens, most)
        ),
    )


def tokens_asked(request: ChatCompletionRequest | CompletionRequest) -> int | None:
    """Returns what the client says of the length of an answer (tokens), under whichever name."""
    return (
        request.max_completion_tokens or request.max_tokens
        if isinstance(request, ChatCompletionRequest)
        else request.max_tokens
    )


def _max_new_tokens(
    request: ChatCompletionRequest | CompletionRequest, card: ModelCard, prompt_tokens: int
) -> int:
    asked = tokens_asked(request)
    default, param = (
        (None, "messages")
        if isinstance(request, ChatCompletionRequest)
        else (COMPLETION_TOKENS_DEFAULT, "prompt")
    )
    room = card.context_length - prompt_tokens
    if room < 1 or (asked is not None and asked > room):
        raise ContextOverflow.of(
            prompt_tokens=prompt_tokens,
            max_tokens=asked or default or 1,
            context_length=card.context_length,
            param=param,
        )
    return asked if asked is not None else min(default or room, room)


def _top_k(asked: int | None, default: int | None) -> int:
    top_k = _first(asked, default, -1)
    return top_k if top_k > 0 else -1


def _in_vocabulary(token_ids: list[int] | None, card: ModelCard) -> list[int]:
    for token_id in token_ids or ():
        if token_id >= card.vocab_size:
            raise InvalidRequest(
                f"Token id {token_id} is outside the vocabulary of {card.vocab_size}.",
                param="stop_token_ids",
            )
    return token_ids or []


def _logit_bias(bias: dict[str, float] | None, card: ModelCard) -> dict[str, float]:
    if not bias:
        return {}
    if len(bias) > LOGIT_BIAS_MAX:
        raise InvalidRequest(
            f"logit_bias takes at most {LOGIT_BIAS_MAX} tokens.", param="logit_bias"
        )
    for token_id in bias:
        is_number = (
            len(token_id) <= TOKEN_ID_DIGITS_MAX and token_id.isascii() and token_id.isdigit()
        )
        if not is_number or int(token_id) >= card.vocab_size:
            raise InvalidRequest(
                f"{token_id[:20]!r} is no token id of this model.", param="logit_bias"
            )
    return bias


def _custom_params(params: dict[str, Any] | None) -> dict[str, Any]:
    """Checks custom_params: numbers, text, and lists and objects of these (SGLang's
    CustomParamValue); names that begin with __ are its own.
    """
    if not params:
        return {}
    for name, value in params.items():
        inner = (
            cast("dict[str, Any]", value).values()
            if isinstance(value, dict)
            else cast("list[Any]", value)
            if isinstance(value, list)
            else ()
        )
        if name.startswith("__") or any(isinstance(each, dict | list) for each in inner):
            raise InvalidRequest(
                (
                    f"custom_params.{name[:64]}: a name must not begin with __, and values nest "
                    "one level deep."
                ),
                param="custom_params",
            )
    if len(msgspec.json.encode(params)) > CUSTOM_PARAMS_BYTES_MAX:
        raise InvalidRequest(
            f"custom_params may take {CUSTOM_PARAMS_BYTES_MAX} bytes of JSON.",
            param="custom_params",
        )
    return params


def _first(asked: T | None, default: T | None, otherwise: T) -> T:
    return asked if asked is not None else default if default is not None else otherwise
