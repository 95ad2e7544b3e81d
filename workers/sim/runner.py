"""One rank's scheduler is put on the event loop: a step a turn, paced by the timing model."""

import asyncio
from collections.abc import Callable
from functools import partial

from protocol.generation import Finished
from protocol.replies import Delta
from workers.engine import Deliver
from workers.sim.faults import Faults
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.scheduling.limits import Step
from workers.sim.scheduling.scheduler import Scheduler

LAG_S_MAX = 0.1
"""A loop that was late makes up for this many seconds, so that timers' coarseness does not add up;
a longer stall is not caught up with, since a GPU would not have run ahead either.
"""


class RankRunner:
    """A RankRunner steps a scheduler while it is busy and sleeps when it is not.

    Args:
        speedup: times faster than the timing model; 0 takes a step every loop turn.
        unix_ms: wall clock, for deadlines.
        outlet: publishes the rank's KV events.
    Attributes:
        held: no step is taken.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        deliver: Deliver,
        loop: asyncio.AbstractEventLoop,
        faults: Faults,
        *,
        speedup: float,
        unix_ms: Callable[[], int],
        outlet: KvOutlet | None = None,
    ) -> None:
        self.held = False
        self._outlet = outlet
        self._scheduler = scheduler
        self._deliver = deliver
        self._loop = loop
        self._faults = faults
        self._speedup = speedup
        self._unix_ms = unix_ms
        self._handle: asyncio.Handle | None = None
        self._canaries: list[str] = []
        """These canaries are to be answered after the next step. Whoever sends them has one at a
        time.
        """
        self._under_way: Step | None = None
        self._due_s: float | None = None
        """The step before ended at this time of the loop's clock; None if the rank was idle."""

    def wake(self) -> None:
        """Has the next turn of the loop take a step, if there may be something to do."""
        if (
            self._handle is None
            and not self._faults.hung
            and not self.held
            and (self._scheduler.busy or self._canaries)
        ):
            self._handle = self._loop.call_soon(self._turn)
        elif self._outlet is not None and not self._scheduler.busy:
            self._outlet.flush()

    def answer(self, canary: str) -> None:
        """Answers a canary after the step under way, or at once if the rank is idle.

        It takes no part in batches, caches and counts.
        """
        self._canaries.append(canary)
        self.wake()

    def forget(self, canary: str) -> bool:
        """Tells whether this canary was still without an answer, which it will not get any more."""
        if canary not in self._canaries:
            return False
        self._canaries.remove(canary)
        return True

    def stop(self) -> list[Delta]:
        """Stops stepping and returns what the step under way had to tell."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        step, self._under_way = self._under_way, None
        return step.deltas if step is not None else []

    def _turn(self) -> None:
        self._handle = None
        if self._faults.hung or self.held:
            return
        if not self._scheduler.busy:
            self._answer_canaries()
            return
        step = self._scheduler.step(self._unix_ms())
        wait_s = self._duration_s(step)
        if not wait_s:
            self._end(step)
            return
        now = self._loop.time()
        begun = now if self._due_s is None else max(self._due_s, now - LAG_S_MAX)
        self._due_s = begun + wait_s
        self._under_way = step
        self._handle = self._loop.call_at(self._due_s, self._end_under_way)

    def _end_under_way(self) -> None:
        step, self._under_way, self._handle = self._under_way, None, None
        assert step is not None
        self._end(step)

    def _end(self, step: Step) -> None:
        if step.deltas:
            self._deliver(step.deltas)
        if self._outlet is not None:
            # behind the tokens, which leave at the end of this turn: SGLang has a thread for events
            idle = not self._scheduler.busy
            self._loop.call_soon(partial(self._outlet.after_step, prefill=step.prefill, idle=idle))
        self._faults.on_tokens(step.new_tokens)
        if not self._faults.hung:
            self._answer_canaries()
        if self._scheduler.busy:
            self.wake()
        else:
            self._due_s = None

    def _answer_canaries(self) -> None:
        if self._canaries:
            answered, self._canaries = self._canaries, []
            self._deliver([Delta(canary, 0, b"", Finished("abort", 0, 0)) for canary in answered])

    def _duration_s(self, step: Step) -> float:
        factor = self._faults.slow or 1.0
        if self._speedup:
            return step.duration_ms * factor / self._speedup / 1000
        return step.duration_ms * factor / 1000 if self._faults.slow is not None else 0.0
