"""Defines what GET /status answers: one picture of a frontend, for its page and for terminals.

Add-only, as messages are. It has no prompts, no answers and nothing else that a client wrote.
"""

from typing import Literal

from msgspec import Struct

State = Literal[
    "loading",
    "joining",
    "ready",
    "draining",
    "unhealthy",
    "paused",
    "updating",
    "flushing",
    "released",
]
"""Says whether a worker takes work: its engine starts; its model's files come; it does; it finishes
what runs and leaves; its engine does not answer; its operator keeps it from requests for a while.
Others may follow, whose `why` explains them.
"""


class RankStatus(Struct, frozen=True, kw_only=True):
    """A RankStatus is the load of one data-parallel rank."""

    dp_rank: int
    running: int
    """Counts requests that the engine runs, all frontends', as it last told."""
    waiting: int
    """Counts requests in the engine's own queue."""
    booked: int
    """Counts unfinished requests of this frontend there."""
    running_max: int
    kv_tokens: int
    """Counts tokens of the KV cache that unfinished requests take."""
    kv_tokens_max: int
    cached_blocks: int
    """Counts blocks that this frontend knows to be cached there; 0 where no events tell."""
    hit_rate: float | None
    """Is the share of prompt tokens, of requests that ended lately, that the rank had cached; None
    where none ended.
    """


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """A WorkerStatus is one worker, be it that its engine is only starting."""

    worker_id: str
    model: str
    engine: str
    """Names the engine and its version; empty while it starts."""
    service: str
    """Says what it makes: text, embedding, encode, images or videos; empty while it starts."""
    stage: str
    """Says which part of a request's work it does: whole, prefill, decode, encode or process."""
    state: str
    """Is a State, or one of a newer kvmesh."""
    why: str
    """Explains the state where it is none to be expected; empty otherwise."""
    loading_s: float | None
    """Says for how long its engine has been starting; None once it is up."""
    heard_s: float
    """Says how long ago it was heard of."""
    kv_events: str
    """Says whether its cache is known: current, catching up, or none where no events are
    followed.
    """
    adapters: int
    ranks: list[RankStatus]


class DepartedStatus(Struct, frozen=True, kw_only=True):
    """A DepartedStatus is a worker that left within the last minutes."""

    worker_id: str
    model: str
    cause: str
    """Is a protocol.losses.LossCause."""
    why: str
    """Says the same in words."""
    planned: bool
    at_unix_s: float


class ModelStatus(Struct, frozen=True, kw_only=True):
    """A ModelStatus is a model, or one of the generations of its files, and who waits for it."""

    name: str
    aliases: list[str]
    adapters: list[str]
    service: str
    does: str
    """Says behind the model's name, in words, what it is for."""
    endpoints: list[str]
    sees: bool
    """Says that prompts may have pictures."""
    context_length: int
    ready: bool
    missing: str
    """Says what it has no worker of, while it is not ready."""
    workers: int
    waiting: int
    """Counts requests that wait in this frontend for a worker with room."""
    tokens_per_s: float


class ErrorStatus(Struct, frozen=True, kw_only=True):
    """An ErrorStatus is what went wrong lately in one way, however often."""

    code: str
    status: int
    """Is the HTTP status that clients got."""
    endpoint: str
    model: str
    """Is empty where the request named none that is served here."""
    what: str
    """Says in words what happened, and whose part it is to act."""
    count: int
    first_unix_s: float
    last_unix_s: float
    request_id: str
    """Is the last one's, as in the log."""


class RequestStatus(Struct, frozen=True, kw_only=True):
    """A RequestStatus is a request that has ended: how far it was when, in seconds since it came,
    None where it did not get so far.
    """

    request_id: str
    """Is its name on the mesh, and its client's unless that gave it another."""
    endpoint: str
    model: str
    worker: str
    """Names worker and rank that it ended on, or several of them."""
    moves: int
    """Counts how often it went on elsewhere, since its worker was lost."""
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    prepared_s: float | None
    """Is when its prompt was tokenized."""
    queue_s: float
    """Is for how long it waited for a worker with room."""
    sent_s: float | None
    """Is when it was sent to a worker."""
    ttft_s: float | None
    """Is when its first token came."""
    last_token_s: float | None
    took_s: float
    outcome: str
    """Says why its answer ended, or is the code of an error."""
    ended_unix_s: float


class Point(Struct, frozen=True, kw_only=True):
    """A Point is one second of the past."""

    at_unix_s: float
    """Is its end."""
    requests: float
    """Counts requests that ended, a second."""
    failed: float
    """Counts those of them that failed by no fault of the client's, a second."""
    tokens: float
    """Counts output tokens, a second."""
    ttft_ms: float | None
    """Is the median, over the streams that began, of the time to their first tokens; None where
    none began.
    """
    ttft_ms_max: float | None
    inter_token_ms: float | None
    """Is the mean time from token to token, over all streams; None where none got any."""
    running: int
    """Counts requests that were unfinished in this frontend at its end, those that wait
    included.
    """
    waiting: int
    """Counts those of them that waited for a worker with room."""
    kv_share: float | None
    """Is the share of all KV caches that unfinished requests took; None without any cache."""
    hit_rate: float | None
    """Is the share of prompt tokens that engines had cached, of requests that ended."""


class Snapshot(Struct, frozen=True, kw_only=True):
    """A Snapshot is the whole picture."""

    version: str
    frontend_id: str
    at_unix_s: float
    up_s: float
    draining: bool
    verdict: str
    """Is healthy, degraded or unhealthy, as GET /health says."""
    reasons: list[str]
    models: list[ModelStatus]
    workers: list[WorkerStatus]
    workers_left_out: int
    """Counts workers beyond those that are shown."""
    departed: list[DepartedStatus]
    """Lists who left, the latest first."""
    errors: list[ErrorStatus]
    """Lists what went wrong, the latest first."""
    slowest: list[RequestStatus]
    step_s: float
    """Is the time between two points."""
    history: list[Point]
    """Lists the past, the oldest first; of an event of /status/events the newest alone, but for the
    first event.
    """
