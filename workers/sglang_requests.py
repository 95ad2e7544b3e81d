"""Between kvmesh's messages and SGLang's dictionaries: sampling parameters in, finish reasons out. Imports no SGLang.

SGLang checks most of what a client can ask for. What it does not check reaches tensors in the scheduler, where an
exception ends the whole engine; those few values are checked or bounded here.
"""

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from protocol.errors import DeadlineExceeded, EngineFault, InvalidRequest, Overloaded
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.replies import Embedded, Failed, Finished, Logprobs
from protocol.requests import Grammar, Sampling

_TOP_K_MAX: Final = 1 << 30
"""SGLang's own "whole vocabulary"; its tensor of top_k is int32."""

_LOGIT_BIAS_MAX: Final = 1e4
"""OpenAI allows 100. With the smallest temperature that still samples (1e-6) a larger bias can overflow float32 into
NaN probabilities, which end the scheduler."""

_REASONS: Final = {"stop": "stop", "length": "length", "abort": "abort"}


def input_ids(packed: bytes, vocab_size: int) -> "array[int]":
    """The prompt as SGLang sends it to its scheduler, shape [n], int64. 131k ids take 0.2 ms this way, 6 ms as a list.

    Raises:
        InvalidRequest: no ids, or one that is not in the vocabulary (looking it up would end the scheduler).
    """
    if not packed or len(packed) % 4:
        raise InvalidRequest("the prompt has no tokens", param="prompt")
    ids = np.frombuffer(packed, dtype="<u4")
    if int(ids.max()) >= vocab_size:
        raise InvalidRequest(f"token id {int(ids.max())} of the prompt is not in the model's vocabulary of {vocab_size}", param="prompt")
    wide = array("q")
    wide.frombytes(ids.astype(np.int64).tobytes())
    return wide


def sampling_params(sampling: Sampling, grammar: Grammar | None, vocab_size: int) -> dict[str, Any]:
    """SGLang's sampling parameters. All are named, so that SGLang's own defaults (128 new tokens!) never apply.

    Raises:
        InvalidRequest: a logit_bias that is no number or too large.
    """
    params: dict[str, Any] = {
        "max_new_tokens": sampling.max_new_tokens,
        "min_new_tokens": sampling.min_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": min(sampling.top_k, _TOP_K_MAX),
        "min_p": sampling.min_p,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "ignore_eos": sampling.ignore_eos,
    }
    # An id outside the vocabulary cannot be generated; with min_new_tokens it would index past the logits.
    stops = [token_id for token_id in sampling.stop_token_ids if 0 <= token_id < vocab_size]
    if stops:
        params["stop_token_ids"] = stops
    if sampling.seed is not None:
        # SGLang takes int64; OpenAI's clients may send any integer, and only sameness matters.
        params["sampling_seed"] = sampling.seed & (2**63 - 1)
    if sampling.logit_bias:
        params["logit_bias"] = _logit_bias(sampling.logit_bias)
    if sampling.stop_regex:
        params["stop_regex"] = sampling.stop_regex
    if sampling.custom_params:
        params["custom_params"] = sampling.custom_params
    if grammar is not None:
        params[grammar.kind] = grammar.text
    return params


def _logit_bias(biases: Mapping[str, float]) -> dict[str, float]:
    for token_id, bias in biases.items():
        if not (token_id.isascii() and token_id.isdigit()):
            raise InvalidRequest(f"logit_bias: {token_id!r} is no token id", param="logit_bias")
        if not math.isfinite(bias) or abs(bias) > _LOGIT_BIAS_MAX:
            raise InvalidRequest(f"logit_bias of {token_id} must be between -100 and 100", param="logit_bias")
    return dict(biases)


def outcome(meta_info: Mapping[str, Any], *, prompt_tokens: int, completion_tokens: int) -> Finished | Failed:
    """What SGLang's last message about a request says.

    Args:
        meta_info: with `finish_reason`, `{"type": "stop", "matched": id}`, `{"type": "length"}` or
            `{"type": "abort", "message": str, "status_code": int | None}`.
        prompt_tokens: of the request, since SGLang leaves them out when it aborts in the queue.
        completion_tokens: ids that were delivered.
    """
    reason = meta_info["finish_reason"]
    status = reason.get("status_code")
    if reason["type"] == "abort" and status is not None and 400 <= status < 600:
        return failure(int(status), str(reason.get("message") or "SGLang gave no reason"))
    matched = reason.get("matched")
    return Finished(
        reason=_REASONS.get(reason["type"], "stop"),  # pyright: ignore[reportArgumentType]
        prompt_tokens=int(meta_info.get("prompt_tokens") or prompt_tokens),
        completion_tokens=completion_tokens,
        cached_tokens=int(meta_info.get("cached_tokens") or 0),
        matched_token_id=matched if isinstance(matched, int) else None,
        reasoning_tokens=int(meta_info.get("reasoning_tokens") or 0),
        matched_stop=matched if isinstance(matched, str) else None,
    )


def scores(
    values: Sequence[float | None],
    top_values: Sequence[Sequence[float] | None],
    top_ids: Sequence[Sequence[int] | None],
    top: int,
) -> Logprobs:
    """Log probabilities of n tokens and of the `top` likeliest at each; SGLang has None or nothing for a prompt's first token."""
    chosen = np.array([np.nan if value is None else value for value in values], dtype="<f4").tobytes()
    if not top:
        return Logprobs(chosen)
    ids, alternatives = np.zeros((len(values), top), dtype="<u4"), np.full((len(values), top), np.nan, dtype="<f4")
    for row, (row_values, row_ids) in enumerate(zip(top_values, top_ids, strict=True)):
        if row_values and row_ids:
            ids[row, : len(row_ids)], alternatives[row, : len(row_values)] = row_ids, row_values
    return Logprobs(chosen, top, ids.tobytes(), alternatives.tobytes())


def embedded(out: Mapping[str, Any]) -> Embedded | Failed:
    """What SGLang's answer to an embedding request says."""
    reason = out["meta_info"].get("finish_reason") or {}
    if reason.get("type") == "abort":
        return failure(int(reason.get("status_code") or 500), str(reason.get("message") or "SGLang gave no reason"))
    vector = np.asarray(out["embedding"], dtype="<f4")
    return Embedded(vector.tobytes(), int(out["meta_info"]["prompt_tokens"]))


def failure(status: int, message: str) -> Failed:
    """The error that an HTTP status of SGLang stands for: 4xx the client's, 503 a full queue, the rest the engine's."""
    leaf = EngineFault
    if status == 503:
        leaf = Overloaded
    elif status == 504:
        leaf = DeadlineExceeded
    elif 400 <= status < 500:
        leaf = InvalidRequest
    return Failed(code=leaf.code, message=message[:MESSAGE_CHARS_MAX])
