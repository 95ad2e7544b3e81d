"""Keeps who is connected and what each model can run on; synchronous, the mesh tells it what
happened.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from frontend.fleet.departed import DepartedWorkers
from frontend.fleet.encoders import Encoders
from frontend.fleet.loading import LoadingWorkers
from frontend.fleet.missed import MissedWorkers
from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.partings import Partings
from frontend.fleet.worker import Phase, Worker
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue

log = logging.getLogger(__name__)

MODELS_REMEMBERED_MAX = 256
"""Bounds the names remembered whose last worker left, to answer 503 (come back) instead of 404
(never heard of).
"""

GENERATIONS_MAX = 4
"""Bounds the generations of one model: an update that begins before the last one is through, and
room for a mistake.
"""


class Registry:
    """A Registry knows workers by connection, and models by name and alias.

    Attributes:
        on_served: called when a worker takes requests from then on.
    """

    def __init__(self, new_queue: Callable[[], AdmissionQueue]) -> None:
        self.on_served: Callable[[], None] = lambda: None
        self.workers: dict[bytes, Worker] = {}
        self.encoders = Encoders()
        self.partings = Partings()
        self.missed = MissedWorkers()
        self.departed = DepartedWorkers()
        self.loading = LoadingWorkers()
        self._new_queue = new_queue
        self._models: dict[str, list[ModelEntry]] = {}
        """Maps a model's name to its generations, oldest first; none is empty."""
        self._entry_of: dict[Worker, ModelEntry] = {}
        """Maps a worker to the model that it serves: each heartbeat asks, and of a thousand workers
        thousands come a second.
        """
        self._aliases: dict[str, str] = {}

    def entry(
        self, name: str, worker_id: str | None = None, lora_path: str | None = None
    ) -> ModelEntry | None:
        """Returns the model of that name or alias, or under the LoRA adapter of that name, whether
        or not a worker serves it now.

        Args:
            worker_id: a worker that is wished: of several generations the one that it serves.
            lora_path: an adapter that is wished of the model: of several generations one that has
            it, before all else.
        """
        return self.find(name, worker_id, lora_path)[0]

    def name_of(self, named: str) -> str:
        """Returns the name of the model that a name stands for; empty where there is none."""
        if named in self._models:
            return named
        entry = self.entry(named) if named else None
        return "" if entry is None else entry.served.card.name

    def find(
        self, name: str, worker_id: str | None = None, lora_path: str | None = None
    ) -> tuple[ModelEntry | None, str | None]:
        """Returns the model that a name stands for, and the LoRA adapter of that name.

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
        """Returns, of a model's generations, or those with the adapter if one is named, the least
        busy one and then the newest.
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
        """Returns what cards with this digest are served as; None where nobody serves one."""
        return next((entry for entry in self.entries() if entry.digest == digest), None)

    def entries(self) -> list[ModelEntry]:
        """Returns all generations of all models."""
        return [entry for generations in self._models.values() for entry in generations]

    def set_adapters(self, worker: Worker, names: Iterable[str]) -> None:
        """Notes that a worker has other adapters from here on."""
        worker.adapters = frozenset(names)
        self.refresh(worker)

    def entry_of(self, worker: Worker) -> ModelEntry | None:
        """Returns the model that a worker serves; None while it is joining."""
        return self._entry_of.get(worker)

    def available(self) -> list[ModelEntry]:
        """Returns the models that some worker serves now, each as its least busy generation."""
        current = [self._current(name, None) for name in self._models]
        return [entry for entry in current if entry is not None and entry.workers]

    def namesake(self, worker_id: str) -> Worker | None:
        """Returns the connected worker that goes by this id; None where none does."""
        return next(
            (worker for worker in self.workers.values() if worker.worker_id == worker_id), None
        )

    def serving(self, worker_id: str) -> Worker | None:
        """Returns the worker of this id, once its model is served; None where there is none."""
        worker = self.namesake(worker_id)
        serves = worker is not None and (self.entry_of(worker) or worker in self.encoders)
        return worker if serves else None

    def connect(self, worker: Worker) -> None:
        """Records a connection that said Hello."""
        self.workers[worker.identity] = worker
        self.loading.found(worker.worker_id)
        self.missed.found(worker.worker_id)

    def conflict(self, worker: Worker) -> str | None:
        """Returns why this worker cannot serve its model name beside those that do; None when it
        can.
        """
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

    def serve_pictures(self, worker: Worker) -> None:
        """Lets a worker encode pictures, unless it drains already."""
        self.encoders.add(worker)
        if worker.phase is Phase.JOINING:
            worker.phase = Phase.READY

    def serve(self, worker: Worker, served: ServedModel) -> None:
        """Lets a worker take requests, since its model is prepared, unless it drains already.

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
        self._entry_of[worker] = entry
        self._name_aliases()
        if worker.phase is Phase.JOINING:
            worker.phase = Phase.READY
        entry.refresh()
        self.on_served()

    def _name_aliases(self) -> None:
        """Decides whom an alias names: a model's own name comes before another's alias, and who is
        served before who is not; then who came first.
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
        """Gives the worker nothing new from here on."""
        worker.phase = Phase.DRAINING
        self.refresh(worker)

    def refresh(self, worker: Worker) -> None:
        """Takes over that the worker may get new work, or may not."""
        entry = self.entry_of(worker)
        if entry is not None:
            entry.refresh()

    def leave(self, worker: Worker) -> None:
        """Drops a connection."""
        if self.workers.get(worker.identity) is worker:
            del self.workers[worker.identity]
        self.encoders.remove(worker)
        self.partings.forget(worker.worker_id)
        entry = self._entry_of.pop(worker, None)
        if entry is not None:
            entry.workers.remove(worker)
            if not entry.workers:
                self._name_aliases()
            entry.refresh()

    def generations(self, name: str) -> Sequence[ModelEntry]:
        """Returns what a model of that name is served as, oldest first; none if nobody is known
        to.
        """
        return self._models.get(name, ())

    def _forget_oldest_idle(self) -> None:
        idle = [
            name
            for name, generations in self._models.items()
            if not any(entry.workers for entry in generations)
        ]
        for name in idle[: max(0, len(self._models) - MODELS_REMEMBERED_MAX + 1)]:
            del self._models[name]
