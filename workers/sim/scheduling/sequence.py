"""A request inside the sim scheduler is a sequence; what makes one refusable is checked first."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from protocol.errors import ContextOverflow
from protocol.generation import Extras, Finished, Generate, Sampling
from protocol.replies import Delta, Failed
from protocol.tokens import TOKEN_ID_BYTES
from workers.sim.scheduling.namespace import PLAIN, Namespace
from workers.sim.scheduling.radix_cache import Node
from workers.sim.text import TextModel, advance, sequence_state

UNARY_INTERVAL_TOKENS: Final = 50
"""A request nobody streams is told of its tokens only this many at a time, behind the first, as in
workers/sglang/requests/inputs.py.
"""

_NEVER: Final = 1 << 62


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """RequestLimits are what a request is checked against.

    `kv_tokens_max` is what one request may hold of the cache.
    """

    context_length: int
    vocab_size: int
    kv_tokens_max: int
    stream_interval: int = 1


@dataclass(slots=True, eq=False)
class Sequence:
    """A Sequence is a request's tokens, its place in the KV cache and what was told of it.

    Changed by the scheduler alone.
    """

    request_id: str
    prompt: bytes
    prompt_tokens: int
    max_new_tokens: int
    may_end_at: int
    """Stop tokens count from this output length on; never with ignore_eos, as in SGLang."""
    stop_ids: frozenset[int]
    banned_ids: frozenset[int]
    """These stop ids are not picked while the output is shorter than min_new_tokens."""
    interval_tokens: int
    deadline_unix_ms: int
    priority: int
    state: int
    salt: int
    namespace: Namespace

    output: list[bytes]
    unseen: tuple[tuple[int, int], ...] = ()
    """Holds of each picture that is to be encoded here where it ends in the prompt, and its
    tokens.
    """
    awaits_cache: bool = False
    """Its prompt is computed by another engine, which hands the cache over."""
    sent_tokens: int = 0
    cached_tokens: int | None = None
    """So many prompt tokens were found in the cache when first admitted; None before."""
    kv_tokens: int = 0
    """So many leading tokens have their KV computed."""
    node: Node | None = None
    node_pages: int = 0
    """So many pages are locked in the prefix cache, the sequence's first."""
    own_pages: int = 0
    """So many pages are held outside the prefix cache."""
    steps_left: int = 0
    """So many steps are left of the block under way, where text is made in blocks."""

    @property
    def tokens(self) -> bytes:
        """Returns prompt and output, packed."""
        return self.prompt + b"".join(self.output) if self.output else self.prompt

    @property
    def length(self) -> int:
        """Returns the length of prompt and output, in tokens."""
        return self.prompt_tokens + len(self.output)

    def see(self) -> int:
        """Returns, once, the tokens of the pictures that are encoded here: what is found in the
        cache is not.
        """
        unseen, self.unseen = self.unseen, ()
        return sum(tokens for end, tokens in unseen if end > (self.cached_tokens or 0))

    def write(self, text: TextModel, *, may_end: bool) -> tuple[int, bytes]:
        """Appends the next token, and returns it as a number and packed."""
        token_id = text.pick(self.state, self.salt, may_end)
        if not may_end and token_id in self.banned_ids:
            token_id = text.pick_except(self.state, self.salt, self.banned_ids)
        self.state = advance(self.state, token_id)
        packed = token_id.to_bytes(4, "little")
        self.output.append(packed)
        return token_id, packed

    def take_delta(self, end: Finished | Failed | None = None) -> Delta:
        """Returns a delta with all output that was not told yet."""
        start, self.sent_tokens = self.sent_tokens, len(self.output)
        extras = (
            Extras(cached_tokens=self.cached_tokens)
            if not start and end is None and self.cached_tokens
            else None
        )
        return Delta(self.request_id, start, b"".join(self.output[start:]), end, extras)

    def tell(self, packed: bytes, deltas: list[Delta]) -> None:
        """Tells of the output, whose last token is `packed`, if it is time: of the first token at
        once, then every interval.
        """
        count = len(self.output)
        if self.interval_tokens == 1 and count > 1:
            self.sent_tokens = count
            deltas.append(Delta(self.request_id, count - 1, packed))
        elif count == 1 or count - self.sent_tokens >= self.interval_tokens:
            deltas.append(self.take_delta())

    def finished(
        self, reason: Literal["stop", "length", "abort"], matched_token_id: int | None = None
    ) -> Finished:
        """Returns the end of this sequence as it stands, with its counts of tokens."""
        return Finished(
            reason, self.prompt_tokens, len(self.output), self.cached_tokens or 0, matched_token_id
        )


def new_sequence(
    request: Generate,
    limits: RequestLimits,
    text: TextModel,
    eos_ids: frozenset[int],
    *,
    cached_prompt: bytes | None = None,
) -> Sequence | Failed:
    """Checks a request and prepares it. Cost: one pass over the prompt, 10 µs per 8k tokens.

    Args:
        cached_prompt: the prompt as caches keep it, where that is another.
    """
    if len(request.token_ids) % TOKEN_ID_BYTES:
        return _refused("token ids take four bytes each", "prompt")
    prompt = np.frombuffer(request.token_ids, "<u4")
    refusal = (
        _prompt_refusal(prompt, limits)
        or _sampling_refusal(request.sampling)
        or _length_refusal(request, limits)
    )
    if refusal is not None:
        return refusal
    cached = request.token_ids if cached_prompt is None else cached_prompt
    sampling = request.sampling
    max_new = min(sampling.max_new_tokens, limits.kv_tokens_max - len(prompt))
    min_new = min(sampling.min_new_tokens, max_new)
    stop_ids = frozenset(sampling.stop_token_ids) | eos_ids if sampling.stop_token_ids else eos_ids
    return Sequence(
        request_id=request.request_id,
        prompt=cached,
        prompt_tokens=len(prompt),
        max_new_tokens=max_new,
        may_end_at=_NEVER if sampling.ignore_eos else min_new,
        stop_ids=stop_ids,
        banned_ids=stop_ids if min_new and not sampling.ignore_eos else frozenset(),
        interval_tokens=limits.stream_interval if request.stream else UNARY_INTERVAL_TOKENS,
        deadline_unix_ms=request.deadline_unix_ms,
        priority=request.priority,
        state=sequence_state(np.frombuffer(cached, "<u4")),
        salt=text.salt(sampling.seed),
        namespace=Namespace(request.lora_name, request.cache_salt)
        if request.lora_name or request.cache_salt
        else PLAIN,
        output=[],
        unseen=tuple(
            (each.at + each.tokens, each.tokens)
            for each in request.media
            if each.modality == "image" and each.encoding is None
        ),
    )


def _prompt_refusal(prompt: NDArray[np.uint32], limits: RequestLimits) -> Failed | None:
    if not len(prompt):
        return _refused("the prompt is empty", "prompt")
    if limits.vocab_size and int(np.maximum.reduce(prompt)) >= limits.vocab_size:
        return _refused(
            f"a token id of the prompt is not below the vocabulary size {limits.vocab_size}",
            "prompt",
        )
    return None


def _length_refusal(request: Generate, limits: RequestLimits) -> Failed | None:
    prompt_tokens, max_tokens = (
        len(request.token_ids) // TOKEN_ID_BYTES,
        request.sampling.max_new_tokens,
    )
    if prompt_tokens + max_tokens > limits.context_length:
        error = ContextOverflow.of(
            prompt_tokens=prompt_tokens,
            max_tokens=max_tokens,
            context_length=limits.context_length,
            param="prompt" if prompt_tokens >= limits.context_length else "max_tokens",
        )
        return Failed(error.code, error.message, error.param)
    if prompt_tokens >= limits.kv_tokens_max:
        return _refused(
            (
                f"a prompt of {prompt_tokens} tokens does not fit in a KV cache of "
                f"{limits.kv_tokens_max}"
            ),
            "prompt",
        )
    return None


def _sampling_refusal(sampling: Sampling) -> Failed | None:
    if sampling == Sampling(sampling.max_new_tokens) and sampling.max_new_tokens >= 0:
        return None  # all defaults, the case that load tests measure
    ranges = (
        ("max_tokens", sampling.max_new_tokens, 0, _NEVER),
        ("min_tokens", sampling.min_new_tokens, 0, sampling.max_new_tokens),
        ("temperature", sampling.temperature, 0.0, float("inf")),
        ("top_p", sampling.top_p, 0.0, 1.0),
        ("min_p", sampling.min_p, 0.0, 1.0),
        ("frequency_penalty", sampling.frequency_penalty, -2.0, 2.0),
        ("presence_penalty", sampling.presence_penalty, -2.0, 2.0),
        ("repetition_penalty", sampling.repetition_penalty, 0.0, 2.0),
    )
    for param, value, low, high in ranges:
        if not low <= value <= high:
            return _refused(f"{param} must be between {low} and {high}, not {value}", param)
    if sampling.top_k != -1 and sampling.top_k < 1:
        return _refused(f"top_k must be -1 or at least 1, not {sampling.top_k}", "top_k")
    return None


def _refused(message: str, param: str) -> Failed:
    return Failed("invalid_value", message, param)
