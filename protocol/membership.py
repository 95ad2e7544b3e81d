"""Defines what a worker tells a frontend about itself: who it is, what it serves, how loaded it is.

Add-only.
"""

from hashlib import sha256
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from protocol.disaggregation import BootstrapServer
from protocol.fields import Count, DpRank, Name, PathName, Positive
from protocol.limits import (
    ADAPTERS_MAX,
    ALIASES_MAX,
    CARD_FILES_MAX,
    CREDIT_REQUESTS_MAX,
    DP_RANKS_MAX,
    FILE_BYTES_MAX,
    MESSAGE_CHARS_MAX,
    NAME_CHARS_MAX,
)
from protocol.media import MediaTaken
from protocol.operated import Operated
from protocol.text_diffusion import TextDiffusion

StreamId = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Service = Literal["text", "embedding", "encode", "images", "videos"]
"""Says what a worker's engine makes: text, vectors of texts, vectors of a prompt's images, pictures
or videos.
"""
Stage = Literal["whole", "prefill", "decode", "encode", "process"]
"""Says which part of a request's work a worker does: all of it, or one stage of several."""

AdapterNames = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]],
    Meta(max_length=ADAPTERS_MAX),
]
Sha256Hex = Annotated[str, Meta(min_length=64, max_length=64, pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")]


class CardFile(Struct, frozen=True):
    """A CardFile names a tokenizer or template file by its content; `name` is a plain file name,
    never a path.
    """

    name: FileName
    sha256: Sha256Hex
    size_bytes: Annotated[int, Meta(ge=0, le=FILE_BYTES_MAX)]


class SamplingDefaults(Struct, frozen=True, omit_defaults=True):
    """SamplingDefaults holds what the model's generation_config.json recommends, used where the
    client says nothing.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None


class ModelCard(Struct, frozen=True, omit_defaults=True):
    """A ModelCard holds what a frontend must know to serve a model.

    Workers of one model name must agree on `digest`.
    """

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    context_length: Positive
    """Bounds the tokens of prompt and completion together."""
    vocab_size: Positive
    eos_token_ids: list[int]
    files: Annotated[list[CardFile], Meta(max_length=CARD_FILES_MAX)]
    aliases: Annotated[list[Name], Meta(max_length=ALIASES_MAX)] = []
    defaults: SamplingDefaults = SamplingDefaults()
    created_unix_s: int = 0
    chat_template_file: FileName | None = None
    """Says which of `files` overrides the template that the tokenizer files carry."""
    tool_call_parser: Name = ""
    """Names SGLang's parser of tool calls; empty where there is none."""
    reasoning_parser: Name = ""
    """Names SGLang's parser of thinking; empty where there is none."""
    tokenizes: bool = False
    """Says that workers make tokens of prompts (Tokenize) and text of tokens (Reading); `files`
    then has PIECES_FILE instead of a tokenizer.
    """
    embedding_dimensions: Count = 0
    """Is the length of the vectors that the model makes; 0 where it makes none."""
    cross_encoder: bool = False
    """Says that the model reads two texts together and rates how well they match: its vectors have
    that one number.
    """
    bounds_thinking: bool = False
    """Says that requests may bound the tokens of thinking, in `Sampling.custom_params`."""
    media: MediaTaken | None = None
    """Says which media prompts may have; None where they are text alone."""
    text_diffusion: TextDiffusion | None = None
    """Says how text is made by diffusion; None where each token follows from those before it."""

    @property
    def digest(self) -> str:
        """Returns the SHA-256, in hex, of all that changes answers: everything but the time of
        creation.
        """
        return sha256(
            msgspec.msgpack.encode(msgspec.structs.replace(self, created_unix_s=0))
        ).hexdigest()


class Capacity(Struct, frozen=True, omit_defaults=True):
    """A Capacity says what one engine can hold, per data-parallel rank."""

    dp_size: Annotated[int, Meta(ge=1, le=DP_RANKS_MAX)]
    page_size_tokens: Positive
    kv_tokens: Positive
    """Counts the KV-cache tokens of each rank."""
    requests_running_max: Positive
    """Bounds the requests that each rank runs at once."""
    slow_kv_tokens: Count = 0
    """Counts further KV-cache tokens of each rank, in host memory and on disk."""
    block_size_tokens: Positive = 64
    """Is the size of a router block in tokens, a multiple of the page size: the unit in which
    cached prefixes are told and matched.
    """
    prefill_step_tokens: Positive = 8_192
    """Bounds the prompt tokens that each rank computes in one step."""
    requests_queued_max: Positive | None = None
    """Bounds the requests that may wait in each rank's own queue before it refuses one; None where
    only the credit bounds them.
    """
    orders_by_priority: bool = False
    """Says that the engine's own queue is in the order of priorities, and of arrival among equal
    ones.
    """
    reuses_prefixes: bool = True
    """Says that what was computed of a prompt is found again for prompts that begin alike."""


class KvSource(Struct, frozen=True, omit_defaults=True):
    """A KvSource says where a range of a worker's ranks publishes its KV events
    (protocol.kv_stream).

    There is one per node of an engine.
    """

    stream_id: StreamId
    events: Name
    """Is the address of the PUB socket, as this frontend reaches it."""
    snapshots: Name
    """Is the address of the ROUTER socket that answers SnapshotRequest."""
    first_rank: DpRank
    rank_count: Annotated[int, Meta(ge=1, le=DP_RANKS_MAX)]


class RankLoad(Struct, frozen=True, array_like=True, omit_defaults=True):
    """A RankLoad tells the load of one data-parallel rank, as its engine counts it."""

    dp_rank: int
    requests_running: Count
    requests_waiting: Count
    kv_tokens_used: Count
    waiting_uncached_tokens: Count = 0
    """Counts the prompt tokens that wait to be computed."""
    kv_number: Count = 0
    """Is the latest number of the rank's KV stream (protocol.kv_stream); 0 before the first, and
    where there is none.
    """


class Loading(Struct, frozen=True, tag="loading"):
    """A Loading says that a worker's engine is starting: it is shown to people, and the worker is
    never routed to.
    """

    worker_id: Name
    model: Name
    phase: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)]
    elapsed_s: float


class Hello(Struct, frozen=True, tag="hello", omit_defaults=True):
    """A Hello introduces a worker: it is the first message on a connection and the answer to
    HelloWanted.
    """

    worker_id: Name
    epoch: int
    """Is random per process, to tell a reconnect of the same process from a restart under the same
    id.
    """
    service: Service
    endpoint: Name
    """Names the endpoint that the worker is listed under: dyn://namespace.component.endpoint."""
    card: ModelCard
    capacity: Capacity
    credit_requests: Annotated[int, Meta(ge=1, le=CREDIT_REQUESTS_MAX)]
    """Bounds the unfinished requests that this frontend may have at the worker at once."""
    engine: Name = ""
    """Names the worker's engine and its version, for people."""
    kv: KvSource | None = None
    """Says where the worker's KV events come from; None where there are none, and a frontend goes
    by its own decisions.
    """
    adapters: AdapterNames = []
    """Lists the LoRA adapters that requests to the worker may name."""
    stage: Stage = "whole"
    bootstrap: BootstrapServer | None = None
    """Of a prefill worker."""
    way: Count = 0
    """Numbers the worker's connections from 1, since it may reach one frontend over several; 0
    where it does not say.
    """
    encodings: Name = ""
    """Is the address at which other workers fetch what this one makes of pictures, as this frontend
    reaches it; empty where it makes nothing for others.
    """
    fetches_encodings: bool = False
    """Says that the worker takes, instead of pictures, what others made of them."""
    operated: Operated | None = None
    model_path: PathName = ""
    tokenizer_path: PathName = ""
    """Is where the engine has it from: a folder of the worker's host, or a hub's repository."""


class AdapterList(Struct, frozen=True, tag="adapters"):
    """An AdapterList names all LoRA adapters that requests may name from here on; it is sent
    whenever one comes or goes.
    """

    names: AdapterNames


class RelayHello(Struct, frozen=True, tag="relay_hello", omit_defaults=True):
    """A RelayHello is the first message of a node that runs some ranks of an engine whose requests
    another node takes.

    Heartbeats follow, with the numbers of its ranks' streams and no load.
    """

    worker_id: Name
    """Names the worker on the node that takes the requests."""
    epoch: int
    source: KvSource
    way: Count = 0
    """Numbers the node's connections, as in Hello."""


class RelayCounts(Struct, frozen=True, array_like=True, omit_defaults=True):
    """RelayCounts tells what befell the KV events between engine and relay since the worker
    started.
    """

    gaps: Count = 0
    """Counts the batches that were not the next one."""
    replays: Count = 0
    """Counts how often the engine was asked for batches again, the probes of quiet streams
    included.
    """
    losses: Count = 0
    """Counts how often batches could not be had any more and a rank's blocks were forgotten."""
    restarts: Count = 0
    malformed: Count = 0
    orphans: Count = 0
    """Counts the pages not taken because the page before them was not known or the rank's table was
    full.
    """


class Heartbeat(Struct, frozen=True, tag="heartbeat", omit_defaults=True):
    """A Heartbeat says that the worker's loop lives, and how loaded its ranks are."""

    worker_id: Name
    epoch: int
    ranks: Annotated[list[RankLoad], Meta(max_length=DP_RANKS_MAX)]
    relay: RelayCounts | None = None
    unhealthy: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)] = ""
    """Says in words why the worker should get no work; empty while its engine answers."""
    others_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.0
    """Is the share of the worker's requests that came from other frontends than the one this is
    told to.
    """
    operated: Operated | None = None
    """Says what an operator did to the engine; None as long as nobody did anything."""


class Draining(Struct, frozen=True, tag="draining"):
    """A Draining says that the worker wants no new work; what runs will be finished."""


class Goodbye(Struct, frozen=True, tag="goodbye", omit_defaults=True):
    """A Goodbye is the last message that a worker sends."""

    reason: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)] = ""
    planned: bool = True
    """Says that the worker leaves on purpose; otherwise its engine died, maybe of what ran there.
    """
