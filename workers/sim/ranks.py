"""The ranks of a simulated engine are asked together: whoever has a request is found by its id."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from protocol.generation import Generate
from protocol.replies import Delta, Failed
from workers.sim.runner import RankRunner
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.scheduling.scheduler import Scheduler


@dataclass(frozen=True)
class Ranks:
    """Ranks are the schedulers of an engine, and what steps each of them."""

    schedulers: Sequence[Scheduler] = ()
    runners: Sequence[RankRunner] = ()
    _turns: Iterator[int] = field(default_factory=count)

    def __len__(self) -> int:
        return len(self.schedulers)

    def of(self, request: Generate) -> int | None:
        """Returns the rank that a request names, or else the next one in turn; None if there is no
        such rank.
        """
        wished = request.routed_dp_rank
        if wished is None:
            return next(self._turns) % len(self)
        return wished if 0 <= wished < len(self) else None

    def holds(self, request_id: str) -> bool:
        """Tells whether a request is on one of them and unfinished."""
        return any(scheduler.holds(request_id) for scheduler in self.schedulers)

    def wake(self) -> None:
        """Has each rank take a step, if there may be something to do."""
        for runner in self.runners:
            runner.wake()

    def begin(self, request_id: str, cached_tokens: int) -> None:
        """Goes on from the cache of a prompt, of which so many tokens had been cached."""
        for scheduler, runner in self._holding(request_id):
            scheduler.hand_over(request_id, cached_tokens)
            runner.wake()

    def abort(self, request_id: str) -> list[Delta]:
        """Stops a request, and returns its last delta if no step brings it."""
        deltas: list[Delta] = []
        for scheduler, runner in self._holding(request_id):
            delta = scheduler.abort(request_id)
            if delta is not None:
                deltas.append(delta)
            runner.wake()
        return deltas

    def fail(self, request_id: str, failure: Failed) -> list[Delta]:
        """Ends a request, and returns its last delta if there was one of this id."""
        deltas: list[Delta] = []
        for scheduler, runner in self._holding(request_id):
            deltas.append(scheduler.fail(request_id, failure))
            runner.wake()
        return deltas

    @property
    def unfinished(self) -> int:
        """Returns how many requests have not ended."""
        loads = [scheduler.load() for scheduler in self.schedulers]
        return sum(load.requests_running + load.requests_waiting for load in loads)

    def hold(self, *, held: bool) -> None:
        """Takes no step while `held`, and goes on afterwards."""
        for runner in self.runners:
            runner.held = held
            runner.wake()

    def flush_cache(self, outlets: Sequence[KvOutlet]) -> bool:
        """Forgets what idle ranks have cached; False if one was not idle."""
        flushed = [scheduler.flush_cache() for scheduler in self.schedulers]
        for outlet in outlets:
            outlet.flush()
        return all(flushed)

    def stop(self, failure: Failed | None) -> list[Delta]:
        """Stops stepping, ends all requests (None: as aborted), and returns what there was to
        tell.
        """
        deltas: list[Delta] = []
        for scheduler, runner in zip(self.schedulers, self.runners, strict=True):
            deltas += runner.stop()
            deltas += scheduler.fail_all(failure)
        return deltas

    def _holding(self, request_id: str) -> Iterator[tuple[Scheduler, RankRunner]]:
        for scheduler, runner in zip(self.schedulers, self.runners, strict=True):
            if scheduler.holds(request_id):
                yield scheduler, runner
