"""A worker asks this of an engine: requests and aborts go in, step batches come out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

from msgspec import Struct

from kv_events.engine_stream import StreamAddress
from protocol.diffusion import AskJobs, FetchOutput, JobsTold, OutputChunk
from protocol.disaggregation import BootstrapServer
from protocol.errors import EngineFault
from protocol.media import ImageSize
from protocol.media_plane import Encodings, FetchEncodings
from protocol.membership import Capacity, ModelCard, RankLoad
from protocol.replies import Delta, Failed
from protocol.requests import Work
from workers.engine_controls import AdapterLoader, EngineRoutes

Deliver = Callable[[Sequence[Delta]], None]
"""A Deliver is called on the event loop, once per engine step, with a Delta for every request that
moved in it.

Must not block.
"""

OnDeath = Callable[[str], None]
"""An OnDeath is called on the event loop, at most once, when the engine has ended though nobody
asked it to, with the reason in one line. Nothing is delivered for what ran; `kill` is what is left
to do.
"""

EngineMetrics = Callable[[Mapping[str, str]], bytes]
"""An EngineMetrics returns what an engine itself counts in the text form that Prometheus scrapes,
with these labels on each sample that has none of their names. Called on a thread of its own; may
raise where there is nothing to be read at the moment.
"""

NO_DEADLINE_UNIX_MS: Final = 4_102_444_800_000
"""A worker's own requests have this deadline, the year 2100: whoever sent them gives them up by a
clock of its own.
"""

BROKEN: Final = Failed(code=EngineFault.code, message="The worker failed on this request.")
"""A request ends with this Failed where something raised that should not have; the log says
what.
"""

CANARY_PREFIX: Final = "HEALTH_CHECK"
"""A request whose id begins with this is a canary: it asks its rank for a sign of life and is
nobody's request.

An idle rank runs it like any other. A busy one answers it after its next step without running it,
so that it never waits behind real work, and ends it as "abort". Aborting it ends it at once,
whatever its rank does, since it is aborted when nothing came. The prefix is SGLang's own
(sglang.srt.constants), whose schedulers behave so.
"""


FAKE_BOOTSTRAP_HOST: Final = "2.2.2.2"
"""A leg that is told to meet its other leg here meets none, and behaves as if it had.

The name is SGLang's own (srt/disaggregation/utils.py).
"""


class PromptMaker(Protocol):
    """A PromptMaker makes tokens with the tokenizer and the chat template of an engine, for
    frontends that have neither.

    Called in a thread, one prompt at a time.
    """

    def of_text(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Returns the token ids of a text, packed u32."""
        ...

    def of_chat(self, chat: bytes) -> tuple[bytes, list[str]]:
        """Returns the token ids of a chat request in JSON, packed u32, and the strings at which the
        template wants its answer to end.

        Raises:
            InvalidRequest: the template refuses the messages.
        """
        ...


class ImageCounter(Protocol):
    """An ImageCounter tells how many tokens of a prompt pictures take. Called in a thread."""

    def tokens(self, sizes: Sequence[ImageSize]) -> list[int]:
        """Returns the number of each picture, by its width and height in pixels."""
        ...


class EncodingSource(Protocol):
    """An EncodingSource has what an engine makes of pictures for other workers.

    Attributes:
        on_fetched: called whenever `owed` is less.
    """

    on_fetched: Callable[[], None]

    @property
    def owed(self) -> int:
        """Returns of how many requests all is made, and not fetched yet by all who need it."""
        ...

    def fetch(self, fetch: FetchEncodings, reply: Callable[[Encodings], bool]) -> None:
        """Has what was made for a request sent by `reply`, now or later; that it was asked for
        is always answered now.
        """


class OutputSource(Protocol):
    """An OutputSource has the pictures or videos that an engine made, and its jobs."""

    @property
    def owed(self) -> int:
        """Returns for how many jobs and outputs a worker that leaves is to wait: those that are not
        made yet, and those that are being fetched.
        """
        ...

    def open(self, tag: str, on_change: Callable[[], None]) -> None:
        """Begins to serve.

        Args:
            tag: what the ids of outputs begin with (`worker_tag`).
            on_change: called whenever `owed` may be less.
        """

    async def read(self, fetch: FetchOutput) -> OutputChunk:
        """Returns a piece of what was made, or that there is no such output.

        Raises:
            OSError: it cannot be read now.
        """
        ...

    def tell(self, ask: AskJobs) -> JobsTold:
        """Returns what was asked about jobs; one that is to be forgotten is stopped and thrown
        away.
        """
        ...

    def hand_back(self) -> None:
        """Lets nothing wait any more: it is to be made elsewhere, as the worker leaves."""


class EngineFacts(Struct, frozen=True):
    """EngineFacts say what an engine turned out to be once it was up; the worker's Hello is made of
    them.
    """

    card: ModelCard
    card_files: dict[str, Path]
    """Each of the card's files lies at this path of this host, by its SHA-256."""
    capacity: Capacity
    version: str
    """The version names the engine for people: "sglang 0.5.23 on cpu", "sim"."""
    model_path: str = ""
    tokenizer_path: str = ""
    """The engine has its model and its tokenizer from these folders of this host, or repositories
    of a hub; empty where nobody asks.
    """
    kv_streams: Sequence[StreamAddress] = ()
    """The ranks of this host publish their KV events at these addresses, in rank order; none if
    they do not.
    """
    generates: bool = True
    """Says whether the engine, by its arguments and its model, generates text; if not, it makes
    vectors of texts.
    """
    disaggregation_mode: Literal["null", "prefill", "decode"] = "null"
    """What the engine was told to do of each request, in SGLang's words; null: all of it."""
    bootstrap: BootstrapServer | None = None
    """Of an engine that computes prompts for others. A wildcard host stands for this host."""
    prompts: PromptMaker | None = None
    """The engine's worker tokenizes with this; None if the frontends tokenize."""
    images: ImageCounter | None = None
    """Counts the tokens of pictures; None if the model takes none, or they do not follow from
    sizes.
    """
    encodings: EncodingSource | None = None
    """Other workers fetch through this what the engine makes of pictures; None if it makes
    nothing for others.
    """
    outputs: OutputSource | None = None
    """Frontends fetch through this what the engine makes; None if it makes no pictures or
    videos.
    """
    adapters: AdapterLoader | None = None
    """The engine's LoRA adapters can be changed through this; None if it takes none."""
    metrics: EngineMetrics | None = None
    """Writes what the engine itself counts; None if it was not told to count."""
    routes: EngineRoutes | None = None
    """Does to the engine what an operator asks; None if nothing can be asked of it."""


class FollowerFacts(Struct, frozen=True):
    """FollowerFacts say what a node has that runs some ranks of an engine whose requests another
    node takes: nothing but KV events to relay.
    """

    page_size_tokens: int
    kv_streams: Sequence[StreamAddress]
    version: str


FirstWork = Callable[[EngineFacts, int, int | None], Work]
"""A FirstWork makes one of the requests that an engine answers before anybody counts on it, from
what the engine turned out to be, the tokens of a prompt and a data-parallel rank (None: the only
one).
"""


class Runs(Protocol):
    """A Runs takes requests and aborts: an engine, or what stands before one."""

    def submit(self, request: Work) -> None:
        """Takes a request and returns at once.

        A request the engine refuses ends with a Failed delta, not an exception.
        """

    def abort(self, request_id: str) -> None:
        """Stops a request at any stage; unknown and finished ids are ignored."""


class Engine(Runs, Protocol):
    """An Engine runs one model on one data-parallel rank or several.

    Every submitted request ends with exactly one Delta whose `end` is set: finished, aborted or
    failed. The positions (`start`) of a request's deltas are gapless from 0.
    """

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts | FollowerFacts:
        """Brings the engine up; returns when it can take requests, or when it serves those that
        another node takes.

        What dies while it starts is a StartError; `on_death` is for later.

        Raises:
            StartError: it cannot start; the message says why in one line.
        """
        ...

    def loads(self) -> list[RankLoad]:
        """Returns the load of each rank, by dp_rank; cheap, as it is read for every heartbeat."""
        ...

    async def stop(self) -> None:
        """Ends the engine and all its processes, letting them give back what they hold."""

    async def kill(self) -> None:
        """Ends the engine and its processes now, since it is dead or there is no time.

        Also while `stop` is under way, and more than once.
        """
