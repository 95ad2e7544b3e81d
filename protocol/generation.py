"""Defines how a frontend asks a worker for text, and what the pieces and the end of an answer come
in. Add-only.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from protocol.diffusion import Progress
from protocol.disaggregation import Bootstrap
from protocol.fields import Count, Name, RequestId, TraceParent, TraceState
from protocol.limits import (
    CUSTOM_PARAMS_MAX,
    GRAMMAR_BYTES_MAX,
    LOGIT_BIAS_MAX,
    REQUEST_ID_CHARS,
    STOP_CHARS_MAX,
    STOP_TOKEN_IDS_MAX,
    STOPS_MAX,
    TOP_LOGPROBS_MAX,
)
from protocol.media import MEDIA_MAX, PromptMedia

PARTS_MAX: Final = 2**16
"""Bounds the parts of one Delta: a whole answer that is told at its end has one for every few
characters.
"""


class Sampling(Struct, frozen=True, omit_defaults=True):
    """A Sampling says how each next token is chosen and when generation ends.

    Ranges are checked by the frontend; the engine checks again.

    Stop strings are absent on purpose: they are watched for where text is made, in the frontend or
    by a Reading.
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    ignore_eos: bool = False
    stop_token_ids: Annotated[list[int], Meta(max_length=STOP_TOKEN_IDS_MAX)] = []
    logit_bias: Annotated[dict[str, float], Meta(max_length=LOGIT_BIAS_MAX)] = {}
    """Maps a token id, in decimal digits as SGLang takes it, to its bias."""
    stop_regex: Annotated[list[str], Meta(max_length=STOPS_MAX)] = []
    """Lists regular expressions that end the answer, watched for where text is made, as stop
    strings are.
    """
    custom_params: Annotated[dict[str, Any], Meta(max_length=CUSTOM_PARAMS_MAX)] = {}
    """Holds parameters that are handed to the engine as they are."""


GrammarKind = Literal["json_schema", "regex", "ebnf", "structural_tag"]


class Grammar(Struct, frozen=True, omit_defaults=True):
    """A Grammar says what a generated text must conform to.

    `text` is a JSON schema, a regular expression, an EBNF grammar, or a structural tag in JSON.
    """

    kind: GrammarKind
    text: Annotated[str, Meta(max_length=GRAMMAR_BYTES_MAX)]
    field: Name = ""
    """Names the field of the client's request that the grammar came from, for errors about it."""
    replayed_tokens: int = 0
    """Counts the last of the prompt's tokens that are output of workers that are lost: the grammar
    goes on behind them.
    """


class LogprobsWanted(Struct, frozen=True, omit_defaults=True):
    """LogprobsWanted asks for the log probabilities of tokens, and of the likeliest ones beside
    each.
    """

    top: Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_MAX)] = 0
    of_prompt: bool = False
    """Asks also for the log probabilities of the prompt's tokens; they come with the first Delta.

    The cache then saves nothing of the prompt.
    """


class Reading(Struct, frozen=True, omit_defaults=True):
    """A Reading has the worker make text of the tokens and take it apart with the engine's own
    parsers: the deltas then carry `parts`.
    """

    chat: bytes = b""
    """Holds the client's chat request as JSON, without its messages: tools, tool_choice,
    chat_template_kwargs … are what parsers go by. Where it is empty, the text is content and
    nothing else.
    """
    calls_before: int = 0
    """Counts the tool calls in the messages; some models number theirs on."""
    stops: Annotated[
        list[Annotated[str, Meta(max_length=STOP_CHARS_MAX)]], Meta(max_length=STOPS_MAX)
    ] = []
    include_stop: bool = False
    skip_special_tokens: bool = True
    replayed_tokens: int = 0
    """Counts the last of the prompt's tokens that are output of workers that are lost: they are
    read, but were shown already.
    """
    whole: bool = False
    """Says that nobody reads the answer as it comes: all parts come with the end."""
    first_request_id: Annotated[str, Meta(max_length=REQUEST_ID_CHARS)] = ""
    """Says under which id the request went out first, if it is not its own: tool calls are named
    after it.
    """


class Generate(Struct, frozen=True, tag="generate", omit_defaults=True):
    """A Generate asks a worker to run one prompt.

    Exactly one Delta with an end answers it, unless the worker dies.
    """

    request_id: RequestId
    model: Name
    token_ids: bytes
    """Holds the prompt's token ids as little-endian u32."""
    sampling: Sampling
    deadline_unix_ms: int
    """Says by when a first token must come: absolute, by the frontend's clock.

    A worker drops what has no token by then; who asks sees to the end, and may say an earlier time
    here that leaves room for the rest of the answer.
    """
    stream: bool = True
    """Says that tokens are read one by one; otherwise they may be held back and sent together."""
    priority: int = 0
    routed_dp_rank: int | None = None
    lora_name: Name | None = None
    """Names the LoRA adapter, as the engine knows it."""
    cache_salt: Name | None = None
    """Keeps KV caches apart: requests with different salts share none."""
    traceparent: TraceParent | None = None
    """Names the span of a trace that the work is part of, as W3C's header does."""
    tracestate: TraceState = ""
    """Holds what tracing systems say to each other beside it."""
    grammar: Grammar | None = None
    logprobs: LogprobsWanted | None = None
    reading: Reading | None = None
    bootstrap: Bootstrap | None = None
    """Where this leg meets the other; None: the request runs on one worker from prompt to end.

    A leg on a prefill worker makes one token, which the other leg tells again.
    """
    media: Annotated[list[PromptMedia], Meta(max_length=MEDIA_MAX)] = []
    """Lists the media of the prompt, in the order of the tokens that stand for them."""
    encoded_at: Name = ""
    """Is the address at which the worker fetches what another one makes of the media, which then
    have no data; empty where it takes them as they are.
    """


class CachedBelow(Struct, frozen=True, array_like=True, omit_defaults=True):
    """A CachedBelow says how many of the prompt tokens that an engine found in its cache lay below
    its device's memory; all others lay there.
    """

    host: Count = 0
    """Counts those in the host's memory."""
    storage: Count | None = None
    """Counts those further away; None where the engine keeps none there."""
    storage_backend: Name | None = None
    """Names what keeps them."""


class Finished(Struct, frozen=True, tag="finished", array_like=True, omit_defaults=True):
    """A Finished ends a request that its engine completed.

    `reason` is "stop" for an end-of-sequence or stop token, "length" for max_new_tokens or the
    context's end, "abort" when someone asked for it.
    """

    reason: Literal["stop", "length", "abort"]
    prompt_tokens: Count
    completion_tokens: Count
    cached_tokens: Count = 0
    """Counts the prompt tokens that the engine found in its KV cache."""
    matched_token_id: int | None = None
    """Is the stop token that ended the answer, the last of the Delta's token_ids."""
    reasoning_tokens: Count = 0
    """Counts those of the completion's tokens that are thinking, as the engine counts them."""
    matched_stop: str | None = None
    """Is the stop string or pattern that ended the answer, where the worker or its engine watched
    for it.
    """
    video_tokens: Count = 0
    """Counts those of the prompt's tokens that stand for videos."""
    audio_tokens: Count = 0
    """Counts those that stand for sounds."""
    cached_below: CachedBelow | None = None
    """Says where `cached_tokens` were; None where all were in the device's memory."""


class Content(Struct, frozen=True, tag="text", array_like=True):
    """A Content is a piece of the answer's text."""

    text: str


class Reasoning(Struct, frozen=True, tag="think", array_like=True):
    """A Reasoning is a piece of the thinking that goes before the answer."""

    text: str


class ToolCall(Struct, frozen=True, tag="call", array_like=True, omit_defaults=True):
    """A ToolCall is a piece of one tool call that the model makes.

    Its first piece bears id and name; the arguments of all pieces together are JSON.
    """

    index: int
    """Says which call of the answer the piece belongs to, from 0."""
    call_id: str = ""
    name: str = ""
    arguments: str = ""


Part = Content | Reasoning | ToolCall


class Logprobs(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Logprobs holds the log probabilities of n tokens, and of k alternatives of each.

    A value is NaN where there is none, as for the first token of a prompt.
    """

    chosen: bytes
    """Holds the tokens' own values as little-endian float32, shape [n]."""
    top: int = 0
    """Counts the alternatives of each token, k."""
    top_ids: bytes = b""
    """Holds the alternatives' ids as little-endian u32, shape [n, k], likeliest first."""
    top_values: bytes = b""
    """Holds the alternatives' values as little-endian float32, shape [n, k]."""


class Extras(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Extras holds what comes beside the tokens of a Delta where it was asked for."""

    parts: Annotated[list[Part], Meta(max_length=PARTS_MAX)] = []
    """Lists what a Reading made of the Delta's tokens and those before them: all that has come of
    them so far.
    """
    logprobs: Logprobs | None = None
    """Holds the log probabilities of the Delta's tokens."""
    prompt_logprobs: Logprobs | None = None
    """Holds the log probabilities of the prompt's tokens, in one Delta of the answer only."""
    cached_tokens: Count | None = None
    """Counts, with the first token, the prompt tokens found in the cache, as Finished does, for an
    answer that its reader ends; None where there are none.
    """
    progress: Progress | None = None
    """Tells how far a Diffuse is."""
    cached_below: CachedBelow | None = None
    """Says where `cached_tokens` were, as Finished does."""


def joined_logprobs(first: Logprobs | None, second: Logprobs | None) -> Logprobs | None:
    """Returns the log probabilities of one piece of an answer and of the piece right behind it, as
    one.
    """
    if first is None or second is None:
        return first or second
    return Logprobs(
        first.chosen + second.chosen,
        first.top,
        first.top_ids + second.top_ids,
        first.top_values + second.top_values,
    )
