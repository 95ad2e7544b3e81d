"""Frontend → worker. Add-only: a field once published keeps its name, meaning and default."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from protocol.limits import (
    CUSTOM_PARAMS_MAX,
    DP_RANKS_MAX,
    GRAMMAR_BYTES_MAX,
    LOGIT_BIAS_MAX,
    NAME_CHARS_MAX,
    REQUEST_ID_CHARS,
    STOP_CHARS_MAX,
    STOP_TOKEN_IDS_MAX,
    STOPS_MAX,
    TOP_LOGPROBS_MAX,
)

RequestId = Annotated[str, Meta(min_length=REQUEST_ID_CHARS, max_length=REQUEST_ID_CHARS)]
Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
Count = Annotated[int, Meta(ge=0, le=2**40)]
DpRank = Annotated[int, Meta(ge=0, lt=DP_RANKS_MAX)]
Positive = Annotated[int, Meta(ge=1, le=2**40)]


class Sampling(Struct, frozen=True, omit_defaults=True):
    """How the next token is chosen and when generation ends.

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
    """Token id in decimal digits → bias, as SGLang takes it."""
    stop_regex: Annotated[list[str], Meta(max_length=STOPS_MAX)] = []
    """Watched for where text is made, as stop strings are."""
    custom_params: Annotated[dict[str, Any], Meta(max_length=CUSTOM_PARAMS_MAX)] = {}
    """Handed to the engine as they are."""


GrammarKind = Literal["json_schema", "regex", "ebnf", "structural_tag"]


class Grammar(Struct, frozen=True, omit_defaults=True):
    """What the output must conform to.

    `text` is a JSON schema, a regular expression, an EBNF grammar, or a structural tag in JSON.
    """

    kind: GrammarKind
    text: Annotated[str, Meta(max_length=GRAMMAR_BYTES_MAX)]
    field: Name = ""
    """Which one of the client's request it came from: what an error about it names."""
    replayed_tokens: int = 0
    """The last so many of the prompt's tokens are output of workers that are lost: the grammar goes
    on behind them.
    """


class LogprobsWanted(Struct, frozen=True, omit_defaults=True):
    """Log probabilities of the tokens, and of the likeliest ones beside each."""

    top: Annotated[int, Meta(ge=0, le=TOP_LOGPROBS_MAX)] = 0
    of_prompt: bool = False
    """Also of the prompt's tokens; they come with the first Delta.

    The cache then saves nothing of the prompt.
    """


class Reading(Struct, frozen=True, omit_defaults=True):
    """Have the worker make text of the tokens and take it apart with the engine's own parsers: the
    deltas then carry `parts`.
    """

    chat: bytes = b""
    """The client's chat request as JSON, without its messages: tools, tool_choice,
    chat_template_kwargs … are what parsers go by. Empty: the text is content and nothing else.
    """
    calls_before: int = 0
    """Tool calls in the messages; some models number theirs on."""
    stops: Annotated[
        list[Annotated[str, Meta(max_length=STOP_CHARS_MAX)]], Meta(max_length=STOPS_MAX)
    ] = []
    include_stop: bool = False
    skip_special_tokens: bool = True
    replayed_tokens: int = 0
    """The last so many of the prompt's tokens are output of workers that are lost: read, but shown
    already.
    """
    whole: bool = False
    """Nobody reads the answer as it comes: all parts come with the end."""
    first_request_id: Annotated[str, Meta(max_length=REQUEST_ID_CHARS)] = ""
    """Under which the request went out first, if it is not its own: tool calls are named after
    it.
    """


class Generate(Struct, frozen=True, tag="generate", omit_defaults=True):
    """Run one prompt. Exactly one Delta with an end answers it, unless the worker dies."""

    request_id: RequestId
    model: Name
    token_ids: bytes
    """The prompt, little-endian u32."""
    sampling: Sampling
    deadline_unix_ms: int
    """Absolute, by the frontend's clock.

    A worker drops what has no token by then; who asks sees to the end, and may say an earlier time
    here that leaves room for the rest of the answer.
    """
    stream: bool = True
    """False: tokens may be held back and sent together, since no one reads them one by one."""
    priority: int = 0
    routed_dp_rank: int | None = None
    lora_name: Name | None = None
    """LoRA adapter, by the name that the engine knows it under."""
    cache_salt: Name | None = None
    """Requests with different salts share no KV cache."""
    traceparent: Annotated[str, Meta(max_length=64)] | None = None
    """W3C trace context."""
    grammar: Grammar | None = None
    logprobs: LogprobsWanted | None = None
    reading: Reading | None = None


class Embed(Struct, frozen=True, tag="embed", omit_defaults=True):
    """Make one text's vector.

    Exactly one Delta, without tokens and with an Embedded or Failed end, answers it, unless the
    worker dies.
    """

    request_id: RequestId
    model: Name
    token_ids: bytes
    """The text, little-endian u32."""
    deadline_unix_ms: int
    dimensions: Positive | None = None
    """For models that know shorter vectors (Matryoshka); None: the model's own."""
    second_text_at: Count = 0
    """Where the second of two texts begins, for a cross-encoder that tells them apart; 0 where
    there is one, or nothing is told.
    """
    priority: int = 0
    routed_dp_rank: int | None = None
    lora_name: Name | None = None
    traceparent: Annotated[str, Meta(max_length=64)] | None = None


Work = Generate | Embed
"""What runs on an engine: takes credit, can be aborted, ends with a Delta."""


class Tokenize(Struct, frozen=True, tag="tokenize", omit_defaults=True):
    """Make tokens of a prompt, where the model's card says that its workers do.

    Answered with one Tokenized; takes no credit.
    """

    query_id: RequestId
    model: Name
    deadline_unix_ms: int
    """Absolute, from when it is sent. What waits for longer is dropped."""
    text: str = ""
    add_special_tokens: bool = True
    chat: bytes = b""
    """Instead of a text: the client's chat request as JSON, of which the engine's own template
    makes a prompt.
    """


class Abort(Struct, frozen=True, tag="abort"):
    """Stop a request at whatever stage it is.

    Unknown ids are ignored; a known one still ends with its one Delta.
    """

    request_id: RequestId


class FetchFile(Struct, frozen=True, tag="fetch_file"):
    """Ask for a file of the worker's model card by content hash; answered with FileChunk
    messages.
    """

    sha256: Annotated[str, Meta(min_length=64, max_length=64)]


class HelloWanted(Struct, frozen=True, tag="hello_wanted", omit_defaults=True):
    """The frontend does not know this connection (it restarted, or the link did, or messages were
    lost): introduce yourself again.
    """

    heard_session: Annotated[int, Meta(ge=0, lt=2**32)] = 0
    """Session (protocol.numbering) of the message that this answers; if another began since, it is
    answered already.
    """


class Welcome(Struct, frozen=True, tag="welcome"):
    """Hello was accepted; requests may follow."""

    frontend_id: Name


class Refused(Struct, frozen=True, tag="refused", omit_defaults=True):
    """Hello was not accepted, with the reason in one line; the worker says it in its log and keeps
    away for `pause_s`.
    """

    reason: str
    pause_s: Annotated[float, Meta(ge=0, le=3_600)] = 30.0
    """By default long: preparing a model again costs a frontend seconds."""


class AnotherWay(Struct, frozen=True, tag="another_way", omit_defaults=True):
    """Hello came over a second connection of a worker whose first one serves.

    Say it again after `pause_s`: the first may have ended.
    """

    pause_s: Annotated[float, Meta(ge=0, le=3_600)] = 1.0


class FrontendHeartbeat(Struct, frozen=True, tag="frontend_heartbeat", omit_defaults=True):
    """The frontend's loop lives. Its silence makes the worker abort its requests."""

    unix_ms: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """Its clock, by which it means deadlines; 0: it does not say."""


ToWorker = (
    Generate
    | Embed
    | Tokenize
    | Abort
    | FetchFile
    | HelloWanted
    | Welcome
    | Refused
    | AnotherWay
    | FrontendHeartbeat
)
