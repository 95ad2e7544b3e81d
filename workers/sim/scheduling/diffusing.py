"""One rank's scheduler makes text as SGLang's diffusion does: a block takes several steps, all but
the last of which bring no token.

Source: SchedulerDllmMixin of SGLang 0.5.23 (srt/dllm/mixin/scheduler.py). One simplification: a
prompt is computed in one step, not block by block.
"""

from protocol.replies import Delta
from workers.sim.scheduling.limits import SchedulerLimits, Step
from workers.sim.scheduling.radix_cache import RadixCache
from workers.sim.scheduling.scheduler import Scheduler
from workers.sim.scheduling.sequence import Sequence
from workers.sim.text import TextModel
from workers.sim.timing import TimingModel


class DiffusingScheduler(Scheduler):
    """A DiffusingScheduler is a Scheduler whose sequences grow by blocks, each of a page.

    Args:
        block_steps: steps that a block takes.
    """

    def __init__(
        self,
        limits: SchedulerLimits,
        cache: RadixCache,
        text: TextModel,
        timing: TimingModel,
        *,
        dp_rank: int = 0,
        block_steps: int,
    ) -> None:
        super().__init__(limits, cache, text, timing, dp_rank=dp_rank)
        self._block_steps = block_steps

    def _begin(self, sequence: Sequence, deltas: list[Delta]) -> int:  # noqa: ARG002 - as Scheduler
        self._running.append(sequence)
        return 0

    def _decode(self, deltas: list[Delta]) -> Step:
        while needed := self._at_new_pages():
            if self._pool.allocate(len(needed)):
                break
            self._retract()
        for sequence in needed:
            sequence.own_pages += 1
        self._reserve.decoded()
        duration_ms = self._timing.decode_ms(self._pool.used_pages / self._pool.page_count)
        tokens = 0
        for sequence in self._running:
            sequence.steps_left = (sequence.steps_left or self._block_steps) - 1
            if not sequence.steps_left:
                before = len(sequence.output)
                self._write_block(sequence, deltas)
                tokens += len(sequence.output) - before
        self._running = [each for each in self._running if each.request_id in self._by_id]
        return Step(duration_ms, deltas, tokens)

    def _at_new_pages(self) -> list[Sequence]:
        """Returns the sequences that begin a block; that in which the prompt ends has its page."""
        return [
            each
            for each in self._running
            if not each.steps_left and not each.kv_tokens % self._page
        ]

    def _write_block(self, sequence: Sequence, deltas: list[Delta]) -> None:
        """Appends the rest of the block that the sequence ends in, or a whole one, as far as the
        sequence goes.
        """
        for _ in range(self._page - sequence.length % self._page):
            may_end = len(sequence.output) >= sequence.may_end_at
            token_id, _ = sequence.write(self._text, may_end=may_end)
            sequence.kv_tokens = sequence.length
            if may_end and token_id in sequence.stop_ids:
                self._finish(sequence, sequence.finished("stop", token_id), deltas)
                return
            if len(sequence.output) >= sequence.max_new_tokens:
                self._finish(sequence, sequence.finished("length"), deltas)
                return
        untold = len(sequence.output) - sequence.sent_tokens
        if not sequence.sent_tokens or untold >= sequence.interval_tokens:
            deltas.append(sequence.take_delta())
