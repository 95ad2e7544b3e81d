"""Who is connected and what each model can run on. Synchronous; the mesh tells it what happened."""

from frontend.mesh.worker import Phase, Rank, Worker
from frontend.models import ServedModel
from protocol.limits import NAME_CHARS_MAX
from protocol.membership import Loading

MODELS_REMEMBERED_MAX = 256
"""Names whose last worker left are remembered up to this many, to answer 503 (come back) instead of 404 (never heard of)."""

LOADING_REMEMBERED_S = 5.0
"""A worker that is loading says so every second; after this long without a word it is taken for dead."""


class ModelEntry:
    """One model name with the workers that serve it."""

    def __init__(self, served: ServedModel) -> None:
        self.served = served
        self.workers: list[Worker] = []
        self.ranks: list[Rank] = []
        """Ranks that may get new work, in order of joining."""

    def refresh(self) -> None:
        """Recompute `ranks` after a worker changed its phase."""
        self.ranks = [rank for worker in self.workers if worker.phase is Phase.READY for rank in worker.ranks]


class Registry:
    """Workers by connection, models by name and alias."""

    def __init__(self) -> None:
        self.workers: dict[bytes, Worker] = {}
        self.models: dict[str, ModelEntry] = {}
        self._aliases: dict[str, str] = {}
        self._loading: dict[str, tuple[Loading, float]] = {}

    def entry(self, name: str) -> ModelEntry | None:
        """The model of that name or alias, whether or not a worker serves it now."""
        return self.models.get(name) or self.models.get(self._aliases.get(name, ""))

    def available(self) -> list[ModelEntry]:
        """Models that some worker serves now."""
        return [entry for entry in self.models.values() if entry.workers]

    def connect(self, worker: Worker) -> Worker | None:
        """Record a connection that said Hello.

        Returns:
            The connection that this one replaces: the same process reconnected, or restarted under its id.
        """
        replaced = next((other for other in self.workers.values() if other.worker_id == worker.worker_id), None)
        self.workers[worker.identity] = worker
        self._loading.pop(worker.worker_id, None)
        return replaced

    def conflict(self, worker: Worker) -> str | None:
        """Why this worker cannot serve its model name beside those that do; None when it can."""
        card = worker.hello.card
        entry = self.entry(card.name)
        if entry is None or not entry.workers or entry.served.card.digest == card.digest:
            return None
        return f"model {card.name[:NAME_CHARS_MAX]!r} is served here with other files or settings (context length, template, tokenizer)"

    def serve(self, worker: Worker, served: ServedModel) -> None:
        """The worker's model is prepared: let it take requests."""
        card = worker.hello.card
        entry = self.models.get(card.name)
        if entry is None or entry.served.card.digest != served.card.digest:
            self._forget_oldest_idle()
            entry = self.models[card.name] = ModelEntry(served)
            self._aliases |= dict.fromkeys(card.aliases, card.name)
        entry.workers.append(worker)
        self.set_phase(worker, Phase.READY)

    def set_phase(self, worker: Worker, phase: Phase) -> None:
        """Move a worker between phases and keep the ranks of its model true."""
        worker.phase = phase
        entry = self.models.get(worker.hello.card.name)
        if entry is not None:
            entry.refresh()

    def leave(self, worker: Worker) -> None:
        """Drop a connection."""
        self.workers.pop(worker.identity, None)
        entry = self.models.get(worker.hello.card.name)
        if entry is not None and worker in entry.workers:
            entry.workers.remove(worker)
            entry.refresh()

    def note_loading(self, loading: Loading, now: float) -> None:
        """A worker's engine is starting."""
        self._loading[loading.worker_id] = (loading, now)
        for worker_id in [worker_id for worker_id, (_, at) in self._loading.items() if now - at > LOADING_REMEMBERED_S]:
            del self._loading[worker_id]

    def loading(self, now: float) -> list[Loading]:
        """Workers whose engine is starting."""
        return [loading for loading, at in self._loading.values() if now - at <= LOADING_REMEMBERED_S]

    def _forget_oldest_idle(self) -> None:
        idle = [name for name, entry in self.models.items() if not entry.workers]
        for name in idle[: max(0, len(self.models) - MODELS_REMEMBERED_MAX + 1)]:
            del self.models[name]
