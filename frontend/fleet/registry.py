"""Who is connected and what each model can run on. Synchronous; the mesh tells it what happened."""

import logging
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from frontend.fleet.rank import Rank
from frontend.fleet.worker import Phase, Worker
from frontend.mesh.missed import MissedWorkers
from frontend.mesh.offer import Offer
from frontend.models.loader import ServedModel
from frontend.routing.admission import AdmissionQueue
from frontend.routing.answer_times import AnswerTimes
from protocol.membership import Loading, Service

log = logging.getLogger(__name__)

MODELS_REMEMBERED_MAX = 256
"""Names whose last worker left are remembered up to this many, to answer 503 (come back) instead of
404 (never heard of).
"""

GENERATIONS_MAX = 4
"""Of one model: an update that begins before the last one is through, and room for a mistake."""

LOADING_REMEMBERED_S = 5.0
"""A worker that is loading says so every second; after this long without a word it is taken for
dead.
"""

LOADING_MAX = 4_096
"""Loading workers remembered; as many as may connect."""


class ModelEntry:
    """One generation of a model: its files and settings, the workers that serve it, and the
    requests that wait for them.

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
        """Workers that may get new work, by id."""
        self.ranks: list[Rank] = []
        """Ranks that may get new work, in order of joining."""
        self.adapters: frozenset[str] = frozenset()
        """LoRA adapters of its workers, whether or not those may get new work; of the last ones,
        when all have left.
        """

    @property
    def busyness(self) -> tuple[bool, float]:
        """To compare generations by: whether nobody takes work, and requests per place to run
        one.
        """
        places = sum(rank.requests_max for rank in self.ranks)
        return not self.ranks, (len(self.queue) + sum(rank.requests for rank in self.ranks)) / max(
            1, places
        )

    def refresh(self) -> None:
        """Recompute `ranks` after a worker changed its phase, and let whoever waits see it."""
        self.worker_of = {worker.worker_id: worker for worker in self.workers if worker.takes_work}
        self.ranks = [rank for worker in self.worker_of.values() for rank in worker.ranks]
        if self.workers:
            self.adapters = frozenset[str]().union(*(worker.adapters for worker in self.workers))
        self.queue.room()


class Registry:
    """Workers by connection, models by name and alias."""

    def __init__(self, new_queue: Callable[[], AdmissionQueue]) -> None:
        self.workers: dict[bytes, Worker] = {}
        self.missed = MissedWorkers()
        self._new_queue = new_queue
        self._models: dict[str, list[ModelEntry]] = {}
        """Name → its generations, oldest first; none is empty."""
        self._aliases: dict[str, str] = {}
        self._loading: dict[str, tuple[Loading, float]] = {}

    def entry(
        self, name: str, worker_id: str | None = None, lora_path: str | None = None
    ) -> ModelEntry | None:
        """The model of that name or alias, or under the LoRA adapter of that name, whether or not a
        worker serves it now.

        Args:
            worker_id: a worker that is wished: of several generations the one that it serves.
            lora_path: an adapter that is wished of the model: of several generations one that has
            it, before all else.
        """
        return self.find(name, worker_id, lora_path)[0]

    def find(
        self, name: str, worker_id: str | None = None, lora_path: str | None = None
    ) -> tuple[ModelEntry | None, str | None]:
        """The model that a name stands for, and the LoRA adapter of that name.

        `name` is that of a model, its alias, an adapter, or "MODEL:ADAPTER", in this order; of
        several models that have the adapter the first that came.
        """
        entry = self._current(name, worker_id, lora_path=lora_path)
        if entry is not None:
            return entry, None
        for model in self._models:
            entry = self._current(model, worker_id, adapter=name)
            if entry is not None:
                return entry, name
        for colon in [at for at, char in enumerate(name) if char == ":"]:
            entry = self._current(name[:colon], worker_id, adapter=name[colon + 1 :])
            if entry is not None:
                return entry, name[colon + 1 :]
        return None, None

    def _current(
        self,
        name: str,
        worker_id: str | None,
        *,
        adapter: str | None = None,
        lora_path: str | None = None,
    ) -> ModelEntry | None:
        """Of a model's generations, of those with the adapter if one is named, the least busy one
        and then the newest.
        """
        generations = self._models.get(self._aliases.get(name, name), [])
        if adapter is not None:
            generations = [entry for entry in generations if adapter in entry.adapters]
        if len(generations) > 1:
            if lora_path is not None:
                generations = [
                    entry for entry in generations if lora_path in entry.adapters
                ] or generations
            wished = [entry for entry in generations if worker_id in entry.worker_of]
            return min(reversed(wished or generations), key=lambda entry: entry.busyness)
        return generations[0] if generations else None

    def generation(self, digest: str) -> ModelEntry | None:
        """What cards with this digest are served as."""
        return next((entry for entry in self.entries() if entry.digest == digest), None)

    def entries(self) -> list[ModelEntry]:
        """All generations of all models."""
        return [entry for generations in self._models.values() for entry in generations]

    def set_adapters(self, worker: Worker, names: Iterable[str]) -> None:
        """A worker has other adapters from here on."""
        worker.adapters = frozenset(names)
        self.refresh(worker)

    def entry_of(self, worker: Worker) -> ModelEntry | None:
        """The model that a worker serves; None while it is joining."""
        for entry in self._models.get(worker.hello.card.name, ()):
            if worker in entry.workers:
                return entry
        return None

    def available(self) -> list[ModelEntry]:
        """Models that some worker serves now, each as its least busy generation."""
        current = [self._current(name, None) for name in self._models]
        return [entry for entry in current if entry is not None and entry.workers]

    def namesake(self, worker_id: str) -> Worker | None:
        """The connection that goes by this worker id."""
        return next(
            (worker for worker in self.workers.values() if worker.worker_id == worker_id), None
        )

    def serving(self, worker_id: str) -> Worker | None:
        """The worker of this id, once its model is served."""
        worker = self.namesake(worker_id)
        return worker if worker is not None and self.entry_of(worker) is not None else None

    def connect(self, worker: Worker) -> None:
        """Record a connection that said Hello."""
        self.workers[worker.identity] = worker
        self._loading.pop(worker.worker_id, None)
        self.missed.found(worker.worker_id)

    def conflict(self, worker: Worker) -> str | None:
        """Why this worker cannot serve its model name beside those that do; None when it can."""
        name, service = worker.hello.card.name, worker.hello.service
        others = [entry for entry in self._models.get(name, ()) if entry.workers]
        if any(entry.service != service for entry in others):
            return (
                f"model {name!r} is served here by {others[0].service} workers, "
                f"and this one is for {service}"
            )
        if len(others) >= GENERATIONS_MAX and all(
            entry.digest != worker.digest for entry in others
        ):
            return (
                f"model {name!r} is served here with {len(others)} sets of files and settings "
                "already, and this one has another"
            )
        return None

    def serve(self, worker: Worker, served: ServedModel) -> None:
        """The worker's model is prepared: let it take requests, unless it drains already.

        Check `conflict` just before.
        """
        name, service = served.card.name, worker.hello.service
        known = self._models.get(name, [])
        gone = [
            entry
            for entry in known
            if not entry.workers and (entry.service, entry.digest) != (service, worker.digest)
        ]
        generations = [entry for entry in known if entry not in gone]
        entry = next((entry for entry in generations if entry.digest == worker.digest), None)
        if entry is None:
            if not known:
                self._forget_oldest_idle()
            if generations:
                log.warning(
                    (
                        "%s is served with other files or settings too: requests go to either "
                        "until one of them is gone"
                    ),
                    name,
                )
            entry = ModelEntry(served, service, self._new_queue())
            generations.append(entry)
        elif not entry.workers:
            entry.served = served
        self._models[name] = generations
        for other in gone:
            # the tokens of whoever waits there mean nothing to the generations that have the name
            # now
            other.queue.room()
        entry.workers.append(worker)
        self._name_aliases()
        if worker.phase is Phase.JOINING:
            worker.phase = Phase.READY
        entry.refresh()

    def _name_aliases(self) -> None:
        """A model's own name comes before another's alias, and who is served before who is not;
        then who came first.
        """
        self._aliases = {}
        names: set[str] = set()
        entries = self.entries()
        for some in (
            [entry for entry in entries if entry.workers],
            [entry for entry in entries if not entry.workers],
        ):
            names.update(entry.served.card.name for entry in some)
            for entry in some:
                for alias in entry.served.card.aliases:
                    if alias not in names:
                        self._aliases.setdefault(alias, entry.served.card.name)

    def drain(self, worker: Worker) -> None:
        """Give the worker nothing new."""
        worker.phase = Phase.DRAINING
        self.refresh(worker)

    def refresh(self, worker: Worker) -> None:
        """Take over that the worker may get new work, or may not."""
        entry = self.entry_of(worker)
        if entry is not None:
            entry.refresh()

    def leave(self, worker: Worker) -> None:
        """Drop a connection."""
        if self.workers.get(worker.identity) is worker:
            del self.workers[worker.identity]
        entry = self.entry_of(worker)
        if entry is not None:
            entry.workers.remove(worker)
            if not entry.workers:
                self._name_aliases()
            entry.refresh()

    def may_come(self, entry: ModelEntry, offer: Offer, now: float) -> bool:
        """Whether some worker may soon take a request that none takes now.

        It joins, does not answer at the moment, or was lost a moment ago and may be back. Whoever
        is being served already waits longer for it, and also for one whose engine is only loading.
        """
        hopes = self._absent(entry, now, patient=offer.admitted)
        wanted, adapter = offer.route.worker_id, offer.request.lora_name
        name = entry.served.card.name
        if offer.admitted and entry in self._models.get(name, ())[-1:]:
            # Nobody knows what adapters the engine will have.
            found = [loading for loading in self.loading(now) if loading.model == name]
            hopes += [(loading.worker_id, frozenset((adapter,))) for loading in found]
        return any(
            worker_id not in offer.avoid
            and wanted in (None, worker_id)
            and (adapter is None or adapter in adapters)
            for worker_id, adapters in hopes
        )

    def may_be_back(self, entry: ModelEntry, now: float) -> bool:
        """Whether it is only for a moment that nobody serves the model, as far as can be told."""
        return bool(self._absent(entry, now, patient=False))

    def _absent(
        self, entry: ModelEntry, now: float, *, patient: bool
    ) -> list[tuple[str, AbstractSet[str | None]]]:
        """Names and adapters of the model's workers that take nothing now, and may before long."""
        if entry not in self._models.get(entry.served.card.name, ()):
            return []
        workers = [worker for worker in self.workers.values() if worker.digest == entry.digest]
        present = [
            worker
            for worker in workers
            if worker.phase is Phase.JOINING or worker.is_silent_for_a_moment(now, patient=patient)
        ]
        missed = [missed for missed in self.missed if missed.digest == entry.digest]
        return [(absent.worker_id, absent.adapters) for absent in (*present, *missed)]

    def note_loading(self, loading: Loading, now: float) -> None:
        """A worker's engine is starting."""
        self._loading = {
            worker_id: noted
            for worker_id, noted in self._loading.items()
            if now - noted[1] <= LOADING_REMEMBERED_S
        }
        if len(self._loading) < LOADING_MAX:
            self._loading[loading.worker_id] = (loading, now)

    def loading(self, now: float) -> list[Loading]:
        """Workers whose engine is starting."""
        return [
            loading for loading, at in self._loading.values() if now - at <= LOADING_REMEMBERED_S
        ]

    def _forget_oldest_idle(self) -> None:
        idle = [
            name
            for name, generations in self._models.items()
            if not any(entry.workers for entry in generations)
        ]
        for name in idle[: max(0, len(self._models) - MODELS_REMEMBERED_MAX + 1)]:
            del self._models[name]
