"""Worker → frontend, about the worker itself: who it is, what it serves, how loaded it is. Add-only."""

from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.limits import (
    ALIASES_MAX,
    CARD_FILES_MAX,
    CREDIT_REQUESTS_MAX,
    DP_RANKS_MAX,
    FILE_BYTES_MAX,
    MESSAGE_CHARS_MAX,
    NAME_CHARS_MAX,
)
from protocol.requests import Count, Name, Positive

Sha256Hex = Annotated[str, Meta(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]


class CardFile(Struct, frozen=True):
    """A tokenizer or template file, by content. The name is a plain file name, never a path."""

    name: FileName
    sha256: Sha256Hex
    size_bytes: Annotated[int, Meta(ge=0, le=FILE_BYTES_MAX)]


class SamplingDefaults(Struct, frozen=True, omit_defaults=True):
    """What the model's generation_config.json recommends; used where the client says nothing."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class ModelCard(Struct, frozen=True, omit_defaults=True):
    """What a frontend must know to serve a model. Workers of one model name must agree on `digest`."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    context_length: Positive
    """Tokens of prompt and completion together."""
    vocab_size: Positive
    eos_token_ids: list[int]
    files: Annotated[list[CardFile], Meta(max_length=CARD_FILES_MAX)]
    aliases: Annotated[list[Name], Meta(max_length=ALIASES_MAX)] = []
    defaults: SamplingDefaults = SamplingDefaults()
    created_unix_s: int = 0
    chat_template_file: FileName | None = None
    """Which of `files` overrides the template that the tokenizer files carry."""

    @property
    def digest(self) -> str:
        """Hash of all that changes answers: everything but the time of creation."""
        return sha256(msgspec.msgpack.encode(msgspec.structs.replace(self, created_unix_s=0))).hexdigest()


class Capacity(Struct, frozen=True, omit_defaults=True):
    """What one engine can hold, per data-parallel rank."""

    dp_size: Annotated[int, Meta(ge=1, le=DP_RANKS_MAX)]
    page_size_tokens: Positive
    kv_tokens: Positive
    """KV-cache tokens of each rank."""
    requests_running_max: Positive
    """Requests that each rank runs at once."""


class RankLoad(Struct, frozen=True, array_like=True, omit_defaults=True):
    """Load of one data-parallel rank, as its engine counts it."""

    dp_rank: int
    requests_running: Count
    requests_waiting: Count
    kv_tokens_used: Count
    waiting_uncached_tokens: Count = 0


class Loading(Struct, frozen=True, tag="loading"):
    """The engine is starting: shown to people, never routed to."""

    worker_id: Name
    model: Name
    phase: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)]
    elapsed_s: float


class Hello(Struct, frozen=True, tag="hello", omit_defaults=True):
    """First message on a connection and the answer to HelloWanted."""

    worker_id: Name
    epoch: int
    """Random per process: tells a reconnect of the same process from a restart under the same id."""
    role: Literal["decode"]
    endpoint: Name
    """dyn://namespace.component.endpoint"""
    card: ModelCard
    capacity: Capacity
    credit_requests: Annotated[int, Meta(ge=1, le=CREDIT_REQUESTS_MAX)]
    """Unfinished requests that this frontend may have here at once."""
    engine: Name = ""
    """Engine and version, for people."""


class Heartbeat(Struct, frozen=True, tag="heartbeat"):
    """The worker's loop lives, and this is its load."""

    worker_id: Name
    epoch: int
    ranks: Annotated[list[RankLoad], Meta(max_length=DP_RANKS_MAX)]


class Draining(Struct, frozen=True, tag="draining"):
    """No new work, please; what runs will be finished."""


class Goodbye(Struct, frozen=True, tag="goodbye"):
    """The last message: the worker leaves on purpose."""

    reason: str = ""
