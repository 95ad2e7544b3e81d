"""One generation of a model: who serves it, stage by stage, and who waits for it."""

from collections.abc import Set as AbstractSet
from typing import Final, get_args

from frontend.fleet.rank import Rank
from frontend.fleet.worker import Worker
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from frontend.routing.answer_times import AnswerTimes
from protocol.membership import Service, Stage

WHOLE: Final[Stage] = "whole"
"""The stage of workers that run a request from its prompt to its end."""

PREFILL: Final[Stage] = "prefill"
"""The stage of workers that compute the KV cache of a prompt and hand it over."""

DECODE: Final[Stage] = "decode"
"""The stage of workers that take such a cache over, and generate."""

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
        """What its workers are for."""
        self.queue = queue
        self.answer_times = AnswerTimes()
        self.workers: list[Worker] = []
        self.worker_of: dict[str, Worker] = {}
        """Workers that may get new work, of whatever stage, by id."""
        self.pools: dict[Stage, list[Rank]] = {stage: [] for stage in STAGES}
        """Stage → the ranks of its workers that may get new work, in order of joining."""
        self.adapters: frozenset[str] = frozenset()
        """LoRA adapters of its workers, whether or not those may get new work; of the last ones,
        when all have left.
        """

    @property
    def ranks(self) -> list[Rank]:
        """The ranks on which answers are generated, whether or not their prompts are computed
        there.
        """
        return self.pools[WHOLE] + self.pools[DECODE] if self.pools[DECODE] else self.pools[WHOLE]

    @property
    def ready(self) -> bool:
        """Whether somebody takes requests, in one leg or in two."""
        return bool(self.pools[WHOLE]) or self.in_two_legs

    @property
    def in_two_legs(self) -> bool:
        """Whether requests can be divided: one worker computes the prompt, another generates."""
        return bool(self.pools[PREFILL] and self.pools[DECODE])

    @property
    def lacks(self) -> frozenset[Stage]:
        """The stages of which it has no worker, while it is not ready for want of them."""
        if self.ready:
            return frozenset()
        return frozenset(stage for stage in (WHOLE, PREFILL, DECODE) if not self.pools[stage])

    @property
    def half(self) -> bool:
        """Whether it has workers of one leg, and nobody for the other."""
        return not self.ready and bool(self.pools[PREFILL] or self.pools[DECODE])

    @property
    def missing(self) -> str:
        """What it has no worker of, in words."""
        if not self.half:
            return "worker"
        return "decode worker" if self.pools[PREFILL] else "prefill worker"

    @property
    def busyness(self) -> tuple[bool, float]:
        """To compare generations by: whether nobody takes work, and requests per place to run
        one.
        """
        ranks = self.ranks
        places = sum(rank.requests_max for rank in ranks)
        waiting = len(self.queue) + sum(rank.requests for rank in ranks)
        return not self.ready, waiting / max(1, places)

    def refused(self, worker_ids: AbstractSet[str]) -> bool:
        """Whether nobody is left to ask when these workers will not have a request."""
        left = {
            stage
            for stage in (WHOLE, PREFILL, DECODE)
            if any(rank.worker_id not in worker_ids for rank in self.pools[stage])
        }
        return WHOLE not in left and len(left) < len((PREFILL, DECODE))

    def pool(self, stage: Stage) -> list[Rank]:
        """The ranks that may get a request which is at this stage."""
        return self.pools[stage]

    def refresh(self) -> None:
        """Recompute the pools after a worker changed its phase, and let whoever waits see it."""
        self.worker_of = {worker.worker_id: worker for worker in self.workers if worker.takes_work}
        self.pools = {stage: [] for stage in STAGES}
        for worker in self.worker_of.values():
            self.pool(worker.hello.stage).extend(worker.ranks)
        if self.workers:
            self.adapters = frozenset[str]().union(*(worker.adapters for worker in self.workers))
        self.queue.room()
