"""Remembers workers whose engine is starting: they take nothing yet, and may before long."""

from protocol.membership import Loading

LOADING_REMEMBERED_S = 5.0
"""Bounds how long a loading worker is remembered: it says every second that it loads, and whoever
has said nothing for so long is taken for dead.
"""

LOADING_MAX = 4_096
"""Bounds the loading workers remembered: as many as may connect."""


class LoadingWorkers:
    """LoadingWorkers remembers who said of late that its engine is starting, by worker id."""

    def __init__(self) -> None:
        self._loading: dict[str, tuple[Loading, float]] = {}
        """Holds the one that was heard of longest ago first."""

    def note(self, loading: Loading, now: float) -> None:
        """Notes that a worker says that its engine is starting."""
        known = self._loading
        known.pop(loading.worker_id, None)
        while known and now - known[oldest := next(iter(known))][1] > LOADING_REMEMBERED_S:
            del known[oldest]
        if len(known) < LOADING_MAX:
            known[loading.worker_id] = loading, now

    def found(self, worker_id: str) -> None:
        """Forgets a worker that introduced itself."""
        self._loading.pop(worker_id, None)

    def known(self, now: float) -> list[Loading]:
        """Returns what those loading workers said that were heard of lately, the one heard of last
        at the end.
        """
        return [
            loading for loading, at in self._loading.values() if now - at <= LOADING_REMEMBERED_S
        ]
