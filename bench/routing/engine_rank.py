"""One rank of the fleet: the sim scheduler stepped on the virtual clock, and its KV events as
SGLang would tell them.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Final

from bench.routing.clock import Clock
from kv_events.block_table import BlockTable
from kv_events.sglang_wire import AllBlocksCleared, BlockRemoved, BlockStored, Event
from protocol.generation import Generate
from protocol.kv_stream import Change
from protocol.membership import RankLoad
from protocol.replies import Delta, Failed
from workers.sim.scheduling.limits import SchedulerLimits, Step
from workers.sim.scheduling.namespace import Namespace
from workers.sim.scheduling.radix_cache import RadixCache
from workers.sim.scheduling.scheduler import Scheduler
from workers.sim.scheduling.sequence import RequestLimits, new_sequence
from workers.sim.text import TextModel
from workers.sim.timing import TimingModel

PAGE_TOKENS: Final = 16
BLOCK_TOKENS: Final = 64
STEPS_MAX: Final = 40
"""Decode steps after which SGLang publishes what is pending."""

VOCABULARY: Final = 32_000
_STREAM_INTERVAL: Final = 1 << 30
"""Only the first token and the end are told: what lies between decides nothing here and costs
time.
"""


class PageEvents:
    """A cache listener that turns pages into the router's blocks; `flush` gives what changed since
    the last time.
    """

    def __init__(self) -> None:
        self._table = BlockTable(BLOCK_TOKENS)
        self._pending: list[Event] = []
        self._steps = 0

    def stored(
        self, parent: int | None, ids: Sequence[int], pages: bytes, namespace: Namespace
    ) -> None:
        """See workers.sim.scheduling.radix_cache.CacheListener."""
        del namespace  # one model, no adapters
        self._pending.append(
            BlockStored(list(ids), parent, list(array("I", pages)), PAGE_TOKENS, medium="GPU")
        )

    def removed(self, ids: Sequence[int]) -> None:
        """As `stored`."""
        self._pending.append(BlockRemoved(list(ids), "GPU"))

    def cleared(self) -> None:
        """As `stored`."""
        self._pending.append(AllBlocksCleared())

    def after_step(self, *, prefill: bool, idle: bool) -> list[Change]:
        """Changes to publish now: after a prefill, every so many decode steps, when idle."""
        self._steps += 1
        if not (prefill or idle or self._steps >= STEPS_MAX):
            return []
        self._steps = 0
        pending, self._pending = self._pending, []
        return [change for event in pending for change in self._table.apply(event)]


class EngineRank:
    """Runs requests, one step after the other.

    Args:
        deliver: takes the deltas of a step when it ends.
        publish: takes changes of the cache; None where nobody follows them.
    """

    def __init__(
        self,
        clock: Clock,
        index: int,
        kv_tokens: int,
        text: TextModel,
        deliver: Callable[[list[Delta]], None],
        publish: Callable[[int, list[Change]], None] | None,
    ) -> None:
        self._clock, self._index, self._deliver, self._publish = clock, index, deliver, publish
        self._events = PageEvents() if publish is not None else None
        self._text = text
        self._eos = frozenset((text.eos_id,)) if isinstance(text, EndingText) else frozenset[int]()
        self._limits = RequestLimits(
            context_length=1 << 20,
            vocab_size=0,
            kv_tokens_max=kv_tokens,
            stream_interval=_STREAM_INTERVAL,
        )
        limits = SchedulerLimits(
            page_size_tokens=PAGE_TOKENS,
            kv_pages=kv_tokens // PAGE_TOKENS,
            requests_running_max=256,
            requests_waiting_max=1 << 30,
            chunk_tokens=8_192,
        )
        self.scheduler = Scheduler(
            limits, RadixCache(PAGE_TOKENS, self._events), text, TimingModel(), dp_rank=0
        )
        self._stepping = False
        self.unfinished = 0
        self.unfinished_max = 0
        self.load_integral = 0.0
        """Unfinished requests x seconds, since `begin_measuring`."""
        self.busy_s = 0.0
        self._changed_at = 0.0

    def begin_measuring(self) -> None:
        """Forget the warm-up."""
        self.load_integral, self.busy_s, self._changed_at = 0.0, 0.0, self._clock.now

    def receive(self, request: Generate) -> None:
        """A request came in."""
        sequence = new_sequence(request, self._limits, self._text, self._eos)
        assert not isinstance(sequence, Failed), sequence
        failure = self.scheduler.submit(sequence)
        assert failure is None, failure
        self.count(1)
        if not self._stepping:
            self._begin()

    def load(self) -> RankLoad:
        """What a heartbeat says."""
        return self.scheduler.load()

    def count(self, change: int) -> None:
        """Unfinished requests changed (0: only bring the integral up to now)."""
        now = self._clock.now
        self.load_integral += self.unfinished * (now - self._changed_at)
        self._changed_at = now
        self.unfinished += change
        self.unfinished_max = max(self.unfinished_max, self.unfinished)

    def _begin(self) -> None:
        step = self.scheduler.step(0)
        self._stepping = True
        self._clock.after(step.duration_ms / 1000, self._end, step)

    def _end(self, step: Step) -> None:
        self.busy_s += step.duration_ms / 1000
        ended = sum(1 for delta in step.deltas if delta.end is not None)
        if ended:
            self.count(-ended)
        if step.deltas:
            self._deliver(step.deltas)
        busy = self.scheduler.busy
        if self._events is not None and self._publish is not None:
            changes = self._events.after_step(prefill=step.prefill, idle=not busy)
            if changes:
                self._publish(self._index, changes)
        self._stepping = False
        if busy:
            self._begin()


class EndingText(TextModel):
    """Outputs of geometric length, the same for a prompt on every rank and under every mode."""

    eos_id: Final = 2

    def __init__(self, output_tokens_mean: float, seed: int) -> None:
        super().__init__(
            range(3, VOCABULARY),
            seed=seed,
            eos_id=self.eos_id,
            output_tokens_mean=output_tokens_mean,
        )
