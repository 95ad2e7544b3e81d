"""Who is connected and what each model can run on. Synchronous; the mesh tells it what happened."""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from frontend.mesh.missed import MissedWorkers
from frontend.mesh.offer import Offer
from frontend.mesh.rank import Rank
from frontend.mesh.worker import Phase, Worker
from frontend.models import ServedModel
from frontend.routing.admission import AdmissionQueue
from frontend.routing.answer_times import AnswerTimes
from protocol.membership import Loading, Role

MODELS_REMEMBERED_MAX = 256
"""Names whose last worker left are remembered up to this many, to answer 503 (come back) instead of 404 (never heard of)."""

LOADING_REMEMBERED_S = 5.0
"""A worker that is loading says so every second; after this long without a word it is taken for dead."""

LOADING_MAX = 4_096
"""Loading workers remembered; as many as may connect."""


class ModelEntry:
    """One model name with the workers that serve it and the requests that wait for them."""

    def __init__(self, served: ServedModel, role: Role, queue: AdmissionQueue) -> None:
        self.served = served
        self.role: Role = role
        """What its workers are for."""
        self.queue = queue
        self.answer_times = AnswerTimes()
        self.workers: list[Worker] = []
        self.worker_of: dict[str, Worker] = {}
        """Workers that may get new work, by id."""
        self.ranks: list[Rank] = []
        """Ranks that may get new work, in order of joining."""
        self.adapters: frozenset[str] = frozenset()
        """LoRA adapters of its workers, whether or not those may get new work; of the last ones, when all have left."""

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
        self.models: dict[str, ModelEntry] = {}
        self.missed = MissedWorkers()
        self._new_queue = new_queue
        self._aliases: dict[str, str] = {}
        self._loading: dict[str, tuple[Loading, float]] = {}

    def entry(self, name: str) -> ModelEntry | None:
        """The model of that name or alias, or under the LoRA adapter of that name, whether or not a worker serves it now."""
        return self.find(name)[0]

    def find(self, name: str) -> tuple[ModelEntry | None, str | None]:
        """The model that a name stands for, and the LoRA adapter.

        `name` is that of a model, its alias, an adapter, or "MODEL:ADAPTER", in this order; of several models that have the adapter the
        first that came.
        """
        entry = self.models.get(self._aliases.get(name, name))
        if entry is not None:
            return entry, None
        for entry in self.models.values():
            if name in entry.adapters:
                return entry, name
        for colon in [at for at, char in enumerate(name) if char == ":"]:
            entry = self.models.get(self._aliases.get(name[:colon], name[:colon]))
            if entry is not None and name[colon + 1 :] in entry.adapters:
                return entry, name[colon + 1 :]
        return None, None

    def set_adapters(self, worker: Worker, names: Iterable[str]) -> None:
        """A worker has other adapters from here on."""
        worker.adapters = frozenset(names)
        self.refresh(worker)

    def entry_of(self, worker: Worker) -> ModelEntry | None:
        """The model that a worker serves; None while it is joining."""
        entry = self.models.get(worker.hello.card.name)
        return entry if entry is not None and worker in entry.workers else None

    def available(self) -> list[ModelEntry]:
        """Models that some worker serves now."""
        return [entry for entry in self.models.values() if entry.workers]

    def namesake(self, worker_id: str) -> Worker | None:
        """The connection that goes by this worker id."""
        return next((worker for worker in self.workers.values() if worker.worker_id == worker_id), None)

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
        card = worker.hello.card
        if card.name in self._aliases:
            return f"the name {card.name!r} is an alias of another model here"
        entry = self.models.get(card.name)
        if entry is not None and entry.workers and entry.role != worker.hello.role:
            return f"model {card.name!r} is served here by {entry.role} workers, and this one is for {worker.hello.role}"
        if entry is None or not entry.workers or entry.served.card.digest == card.digest:
            return None
        return f"model {card.name!r} is served here with other files or settings (context length, template, tokenizer)"

    def serve(self, worker: Worker, served: ServedModel) -> None:
        """The worker's model is prepared: let it take requests, unless it drains already. Check `conflict` just before."""
        name, role = worker.hello.card.name, worker.hello.role
        entry = self.models.get(name)
        if entry is not None and not entry.workers and (entry.role, entry.served.card.digest) != (role, served.card.digest):
            del self.models[name]  # the tokens of whoever waits there mean nothing to the model that has the name now
            entry.queue.room()
            entry = None
        if entry is None:
            self._forget_oldest_idle()
            entry = self.models[name] = ModelEntry(served, role, self._new_queue())
        elif not entry.workers:
            entry.served = served
        entry.workers.append(worker)
        self._aliases = {
            alias: other.served.card.name
            for other in self.models.values()
            for alias in other.served.card.aliases
            if alias not in self.models
        }
        if worker.phase is Phase.JOINING:
            worker.phase = Phase.READY
        entry.refresh()

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
            entry.refresh()

    def may_come(self, entry: ModelEntry, offer: Offer, now: float) -> bool:
        """Whether some worker may soon take a request that none takes now.

        It joins, does not answer at the moment, or was lost a moment ago and may be back. Whoever is being served already waits longer
        for it, and also for one whose engine is only loading.
        """
        hopes = self._absent(entry, now, patient=offer.admitted)
        wanted, adapter = offer.route.worker_id, offer.request.lora_name
        if offer.admitted and self.models.get(entry.served.card.name) is entry:
            # Nobody knows what adapters the engine will have.
            found = [loading for loading in self.loading(now) if loading.model == entry.served.card.name]
            hopes += [(loading.worker_id, frozenset((adapter,))) for loading in found]
        return any(
            worker_id not in offer.avoid and wanted in (None, worker_id) and (adapter is None or adapter in adapters)
            for worker_id, adapters in hopes
        )

    def may_be_back(self, entry: ModelEntry, now: float) -> bool:
        """Whether it is only for a moment that nobody serves the model, as far as can be told."""
        return bool(self._absent(entry, now, patient=False))

    def _absent(self, entry: ModelEntry, now: float, *, patient: bool) -> list[tuple[str, AbstractSet[str | None]]]:
        """Names and adapters of the model's workers that take nothing now, and may before long."""
        name = entry.served.card.name
        if self.models.get(name) is not entry:
            return []
        workers = [worker for worker in self.workers.values() if worker.hello.card.name == name]
        present = [worker for worker in workers if worker.phase is Phase.JOINING or worker.is_silent_for_a_moment(now, patient=patient)]
        missed = [missed for missed in self.missed if missed.model == name]
        return [(absent.worker_id, absent.adapters) for absent in (*present, *missed)]

    def note_loading(self, loading: Loading, now: float) -> None:
        """A worker's engine is starting."""
        self._loading = {worker_id: noted for worker_id, noted in self._loading.items() if now - noted[1] <= LOADING_REMEMBERED_S}
        if len(self._loading) < LOADING_MAX:
            self._loading[loading.worker_id] = (loading, now)

    def loading(self, now: float) -> list[Loading]:
        """Workers whose engine is starting."""
        return [loading for loading, at in self._loading.values() if now - at <= LOADING_REMEMBERED_S]

    def _forget_oldest_idle(self) -> None:
        idle = [name for name, entry in self.models.items() if not entry.workers]
        for name in idle[: max(0, len(self.models) - MODELS_REMEMBERED_MAX + 1)]:
            del self.models[name]
