"""The worker's loop leaves word of itself for the thread that answers probes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from protocol.membership import RankLoad
from protocol.operated import UNTOUCHED, Operated
from workers.engine import EngineMetrics
from workers.health.rank_watch import RankState
from workers.observe.leg_spans import LegSpans
from workers.observe.request_counts import RequestCounts
from workers.observe.served import Served

LOOP_STALLED_S: Final = 5.0
"""A loop that has not turned for this many seconds hangs: beats are 0.25 s apart, and no step or
message takes a second.
"""

Phase = Literal["loading", "serving", "draining", "leaving"]
"""A Phase is where the worker is in its life. The loop beats while the worker serves and drains; it
does not turn while the engine loads, and has its own bounds while it leaves.
"""


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    """A WorkerState is a picture of the worker at one moment. Never changed, so that threads may
    share it.
    """

    phase: Phase = "loading"
    unhealthy: str = ""
    """Tells why the engine gets no work, in words; empty if it does."""
    requests_running: int = 0
    frontends_connected: int = 0
    """So many frontends took the worker in."""
    refusal: str = ""
    """Tells why a frontend did not take the worker in, in its words; empty if none refused."""
    takes_requests: bool = True
    """Says whether the node takes requests; False where another node takes them."""
    operated: Operated = UNTOUCHED
    ranks: Sequence[RankState] = ()
    loads: Sequence[RankLoad] = ()
    """The engine tells these loads of its ranks; none if it cannot at the moment."""


class Board:
    """A Board is written by the worker's loop with every beat, and read by another thread.

    Args:
        clock: monotonic seconds.
    Attributes:
        counts: of the worker's requests.
        spans: what records them; None where nobody wants to know.
        served: what the worker serves; None before it does.
        engine_metrics: of the engine itself; None where it keeps none.
    """

    def __init__(self, worker_id: str, clock: Callable[[], float]) -> None:
        self.worker_id = worker_id
        self.counts = RequestCounts(clock)
        self.spans: LegSpans | None = None
        self.served: Served | None = None
        self.engine_metrics: EngineMetrics | None = None
        self._clock = clock
        self._started_at = clock()
        self._shown = (WorkerState(), clock())
        """The picture and its time are one tuple, replaced as a whole: a reader in another thread
        never sees half of it.
        """

    def open(self, served: Served, engine_metrics: EngineMetrics | None) -> None:
        """Says what the worker serves from here on, and has it counted."""
        self.counts.open(served.capacity.dp_size)
        self.served, self.engine_metrics = served, engine_metrics
        if self.spans is not None:
            self.spans.stage = served.stage

    def show(self, state: WorkerState) -> None:
        """Puts up a picture of the worker as it is now."""
        self._shown = (state, self._clock())

    @property
    def state(self) -> WorkerState:
        """Returns the picture of the worker that was put up last."""
        return self._shown[0]

    @property
    def uptime_s(self) -> float:
        """Returns for how many seconds the process has run."""
        return self._clock() - self._started_at

    def stalled_s(self) -> float:
        """Returns for how many seconds the loop has not turned though it should; 0 if it does."""
        state, shown_at = self._shown
        silent_s = self._clock() - shown_at
        return (
            silent_s
            if state.phase in ("serving", "draining") and silent_s > LOOP_STALLED_S
            else 0.0
        )

    def reasons_not_healthy(self) -> list[str]:
        """Returns why the worker cannot do work; empty if it can."""
        state, stalled_s = self.state, self.stalled_s()
        reasons: list[str] = []
        if state.phase == "loading":
            reasons.append("the engine is loading")
        if stalled_s:
            reasons.append(f"the worker's loop has not turned for {stalled_s:.1f} s")
        if state.unhealthy:
            reasons.append(state.unhealthy)
        return reasons

    def reasons_not_ready(self) -> list[str]:
        """Returns why the worker gets no new work; empty if it does."""
        state, reasons = self.state, self.reasons_not_healthy()
        if state.phase in ("draining", "leaving"):
            reasons.append(state.phase)
        if state.operated.state:
            reasons.append(state.operated.reason)
        if state.phase == "serving" and not state.frontends_connected:
            reasons.append(
                f"no frontend took the worker in: {state.refusal}"
                if state.refusal
                else "no frontend is connected"
            )
        return reasons
