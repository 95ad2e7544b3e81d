"""Keeps one generation of a model: who serves it, stage by stage, and who waits for it."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final, get_args

from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.fleet.token_flow import TokenFlow
from frontend.fleet.worker import Worker
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from frontend.routing.answer_times import AnswerTimes
from protocol.membership import Service, Stage

WHOLE: Final[Stage] = "whole"
"""Is the stage of workers that run a request from its prompt to its end."""

PREFILL: Final[Stage] = "prefill"
"""Is the stage of workers that compute the KV cache of a prompt and hand it over."""

DECODE: Final[Stage] = "decode"
"""Is the stage of workers that take such a cache over, and generate."""

RUNNING: Final = frozenset((WHOLE, PREFILL, DECODE))
"""Holds the stages of workers that run prompts, or a leg of one."""

STAGES: Final[tuple[Stage, ...]] = get_args(Stage)


class ModelEntry:
    """A ModelEntry is one generation of a model: its files and settings, the workers that serve it,
    and the requests that wait for them.

    While an update replaces one worker after the other there are two of one name, of which each
    request goes to one and stays there: its tokens mean nothing to the other.
    """

    def __init__(self, served: ServedModel, service: Service, queue: AdmissionQueue) -> None:
        self.served = served
        self.digest = served.card.digest
        self.service: Service = service
        """Says what the model's workers are for."""
        self.queue = queue
        self.answer_times = AnswerTimes()
        self.flow = TokenFlow()
        self.workers: list[Worker] = []
        self.worker_of: dict[str, Worker] = {}
        """Maps a worker id to a worker, of whatever stage, that may get new work."""
        self.full: set[str] = set()
        """Holds the ids of those of them whose credit is used up; each keeps its own up to date."""
        self._pools: dict[Stage, list[Rank]] = {stage: [] for stage in STAGES}
        """Maps a stage to the ranks of the model's workers that may get new work, in order of
        joining.
        """
        self.divides = False
        """Says that it has workers that run a leg of requests."""
        self.adapters: frozenset[str] = frozenset()
        """Names the LoRA adapters of the model's workers, whether or not those may get new work; of
        the last ones, when all have left.
        """

    @property
    def ranks(self) -> list[Rank]:
        """Returns the ranks on which answers are generated, wherever their prompts are computed."""
        return (
            self._pools[WHOLE] + self._pools[DECODE] if self._pools[DECODE] else self._pools[WHOLE]
        )

    @property
    def ready(self) -> bool:
        """Tells whether somebody takes requests, in one leg or in two."""
        return bool(self._pools[WHOLE]) or self.in_two_legs

    @property
    def in_two_legs(self) -> bool:
        """Tells whether requests can run in two legs, one computing the prompt, one generating."""
        return bool(self._pools[PREFILL] and self._pools[DECODE])

    @property
    def lacks(self) -> frozenset[Stage]:
        """Returns the stages of which it has no worker, while it is not ready for want of them."""
        if self.ready:
            return frozenset()
        return frozenset(stage for stage in (WHOLE, PREFILL, DECODE) if not self._pools[stage])

    @property
    def half(self) -> bool:
        """Tells whether it has workers of one leg, and nobody for the other."""
        return not self.ready and bool(self._pools[PREFILL] or self._pools[DECODE])

    @property
    def missing(self) -> str:
        """Says in words what it has no worker of."""
        if not self.half:
            return "worker"
        return "decode worker" if self._pools[PREFILL] else "prefill worker"

    @property
    def busyness(self) -> tuple[bool, float]:
        """Returns what to compare generations by: whether nobody takes work, and requests per place
        to run one.
        """
        ranks = self.ranks
        places = sum(rank.requests_max for rank in ranks)
        waiting = len(self.queue) + sum(rank.requests for rank in ranks)
        return not self.ready, waiting / max(1, places)

    def note_end(self, stream: RequestStream, now: float) -> None:
        """Notes that a leg ended that generated an answer, or was to, for whatever reason."""
        self.queue.note_end(now - stream.sent_at, now)
        self.flow.note_end(stream, now)

    def streams(self) -> Iterator[RequestStream]:
        """Yields what runs, of each request the leg that generates its answer."""
        for worker in self.workers:
            if worker.hello.stage != PREFILL:
                for booking in worker.bookings.values():
                    yield booking.stream

    def refused(self, worker_ids: AbstractSet[str]) -> bool:
        """Tells whether nobody is left to ask when these workers will not have a request."""
        left = {
            stage
            for stage in (WHOLE, PREFILL, DECODE)
            if any(rank.worker_id not in worker_ids for rank in self._pools[stage])
        }
        return not (WHOLE in left or {PREFILL, DECODE} <= left)

    def pool(self, stage: Stage) -> list[Rank]:
        """Returns the model's ranks that may get a request which is at this stage."""
        return self._pools[stage]

    def refresh(self) -> None:
        """Recomputes the pools after a worker changed its phase, and lets whoever waits see it."""
        self.worker_of = {worker.worker_id: worker for worker in self.workers if worker.takes_work}
        self._pools = {stage: [] for stage in STAGES}
        self.full = set()  # another one: who gets no work any more has the old one
        for worker in self.worker_of.values():
            worker.be_listed_in(self.full)
            self.pool(worker.hello.stage).extend(worker.ranks)
        self.divides = bool(self._pools[PREFILL] or self._pools[DECODE])
        if self.workers:
            self.adapters = frozenset[str]().union(*(worker.adapters for worker in self.workers))
        self.queue.room()
