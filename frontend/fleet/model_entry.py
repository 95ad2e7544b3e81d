"""Keeps one generation of a model: who serves it, stage by stage, and who waits for it."""

from typing import Final, get_args

from frontend.fleet.rank import Rank
from frontend.fleet.worker import Worker
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from frontend.routing.answer_times import AnswerTimes
from protocol.membership import Service, Stage

WHOLE: Final[Stage] = "whole"
"""Is the stage of workers that run a request from its prompt to its end."""

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
        self.workers: list[Worker] = []
        self.worker_of: dict[str, Worker] = {}
        """Maps a worker id to a worker, of whatever stage, that may get new work."""
        self._pools: dict[Stage, list[Rank]] = {stage: [] for stage in STAGES}
        """Maps a stage to the ranks of the model's workers that may get new work, in order of
        joining.
        """
        self.adapters: frozenset[str] = frozenset()
        """Names the LoRA adapters of the model's workers, whether or not those may get new work; of
        the last ones, when all have left.
        """

    @property
    def ranks(self) -> list[Rank]:
        """Returns the model's ranks that may get a request which nobody divides into stages."""
        return self.pool(WHOLE)

    @property
    def busyness(self) -> tuple[bool, float]:
        """Returns what to compare generations by: whether nobody takes work, and requests per place
        to run one.
        """
        ranks = self.ranks
        places = sum(rank.requests_max for rank in ranks)
        return not ranks, (len(self.queue) + sum(rank.requests for rank in ranks)) / max(1, places)

    def pool(self, stage: Stage) -> list[Rank]:
        """Returns the model's ranks that may get a request which is at this stage."""
        return self._pools[stage]

    def refresh(self) -> None:
        """Recomputes the pools after a worker changed its phase, and lets whoever waits see it."""
        self.worker_of = {worker.worker_id: worker for worker in self.workers if worker.takes_work}
        self._pools = {stage: [] for stage in STAGES}
        for worker in self.worker_of.values():
            self.pool(worker.hello.stage).extend(worker.ranks)
        if self.workers:
            self.adapters = frozenset[str]().union(*(worker.adapters for worker in self.workers))
        self.queue.room()
