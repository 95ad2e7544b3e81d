"""One rank's scheduler does continuous batching with SGLang's shape, pure and synchronous.

A step is a prefill batch if anything can be admitted, else a decode batch. A prompt longer than the
chunk size is computed over several steps, before anything else; requests that waited longest come
first; when decoding runs out of KV pages, the requests with the least output go back to the queue
(retraction) and are computed again later.

Source: scheduling loop, PrefillAdder and retract_decode of SGLang 0.5.23
(srt/managers/scheduler.py, schedule_policy.py, schedule_batch.py), without overlap, mixed chunks,
LoRA and grammar. One simplification: a prompt's pages are taken when it is admitted, not chunk by
chunk.
"""

from collections.abc import Callable

from protocol.generation import Finished
from protocol.membership import RankLoad
from protocol.replies import Delta, Failed
from workers.sim.scheduling.kv_pool import KvPool
from workers.sim.scheduling.limits import SchedulerLimits, Step
from workers.sim.scheduling.radix_cache import RadixCache
from workers.sim.scheduling.reserve import Reserve, cheapest, remaining
from workers.sim.scheduling.sequence import Sequence
from workers.sim.scheduling.sequence_pages import SequencePages
from workers.sim.scheduling.waiting_queue import EXPIRED, WaitingQueue
from workers.sim.text import TextModel
from workers.sim.timing import TimingModel


class Scheduler:
    """A Scheduler runs sequences to their end, a step at a time.

    Every one that `submit` took ends with one delta that has `end` set.

    Attributes:
        retractions: sequences that had to be taken back, ever.
        on_reserved: called with each request that has its pages, and awaits its prompt's cache.
    """

    def __init__(
        self,
        limits: SchedulerLimits,
        cache: RadixCache,
        text: TextModel,
        timing: TimingModel,
        *,
        dp_rank: int = 0,
    ) -> None:
        self._limits = limits
        self._page = limits.page_size_tokens
        self._cache = cache
        self._pool = KvPool(limits.kv_pages, cache)
        self._pages = SequencePages(
            cache, self._pool, limits.page_size_tokens, shares=limits.prefix_cache
        )
        self._text = text
        self._timing = timing
        self._dp_rank = dp_rank
        self._waiting = WaitingQueue()
        self._running: list[Sequence] = []
        self._chunked: Sequence | None = None
        self._reserved: dict[str, Sequence] = {}
        """Sequences that have their pages, and wait for the cache of their prompt."""
        self._by_id: dict[str, Sequence] = {}
        self._outbox: list[Delta] = []
        self._kv_full = False
        """Says that the queue's head did not fit: all wait for an end (SGLang: batch_is_full)."""
        self._reserve = Reserve(limits.conservativeness)
        self.retractions = 0
        self.on_reserved: Callable[[str], None] = lambda _: None

    @property
    def busy(self) -> bool:
        """Tells whether a step would do something."""
        if not self._reserved:
            return bool(self._by_id or self._outbox)
        waits = len(self._waiting) > 0 and not self._kv_full and self._slots > 0
        return bool(self._outbox or self._running or self._chunked or waits)

    @property
    def _slots(self) -> int:
        return self._limits.requests_running_max - len(self._running) - len(self._reserved)

    def flush_cache(self) -> bool:
        """Forgets what is cached; False, and no change, while anything runs or waits."""
        if self._by_id:
            return False
        self._cache.clear()
        return True

    def holds(self, request_id: str) -> bool:
        """Tells whether a request is here and unfinished."""
        return request_id in self._by_id

    def load(self) -> RankLoad:
        """Returns the rank's load, as SGLang counts it: a chunked prefill runs."""
        chunked = self._chunked
        return RankLoad(
            dp_rank=self._dp_rank,
            requests_running=len(self._running) + (chunked is not None),
            requests_waiting=len(self._waiting) + len(self._reserved),
            kv_tokens_used=self._pool.used_pages * self._page,
            waiting_uncached_tokens=self._waiting.uncached_tokens
            + (chunked.length - chunked.kv_tokens if chunked else 0),
        )

    def submit(self, sequence: Sequence) -> Failed | None:
        """Queues a sequence, or returns why not."""
        if len(self._waiting) >= self._limits.requests_waiting_max:
            return Failed("overloaded", f"{len(self._waiting)} requests wait already")
        if sequence.request_id in self._by_id:
            return Failed("invalid_value", "a request with this id is running", "request_id")
        self._by_id[sequence.request_id] = sequence
        self._waiting.add(sequence)
        return None

    def hand_over(self, request_id: str, cached_tokens: int) -> None:
        """Goes on from the cache of a prompt, so much of which its own engine had cached."""
        sequence = self._reserved.pop(request_id)
        sequence.cached_tokens, sequence.awaits_cache = cached_tokens, False
        self._pages.take_over(sequence)
        self._running.append(sequence)

    def fail(self, request_id: str, failure: Failed | None) -> Delta:
        """Ends a request with `failure` (None: as aborted), and returns its last delta."""
        sequence = self._by_id[request_id]
        self._take_out(sequence)
        return sequence.take_delta(failure or sequence.finished("abort"))

    def abort(self, request_id: str) -> Delta | None:
        """Ends the request of this id, wherever it is, and returns its last delta if nothing of it
        can be under way; else the next step brings it.
        """
        sequence = self._by_id.get(request_id)
        if sequence is None:
            return None
        untold = not sequence.output
        self._take_out(sequence)
        delta = sequence.take_delta(sequence.finished("abort"))
        if untold:
            return delta
        self._outbox.append(delta)
        return None

    def fail_all(self, failure: Failed | None) -> list[Delta]:
        """Ends every request with `failure` (None: as aborted), and returns the last deltas."""
        deltas, self._outbox = self._outbox, []
        for sequence in list(self._by_id.values()):
            deltas.append(self.fail(sequence.request_id, failure))
        return deltas

    def step(self, now_unix_ms: int) -> Step:
        """Computes one batch; an idle scheduler returns a step of no duration."""
        deltas, self._outbox = self._outbox, []
        self._drop_expired(now_unix_ms, deltas)
        batch = self._next_prefill()
        if batch:
            return self._prefill(batch, deltas)
        if self._running:
            return self._decode(deltas)
        self._reserve.idled()
        return Step(0.0, deltas, 0)

    def _drop_expired(self, now_unix_ms: int, deltas: list[Delta]) -> None:
        """Drops what expired at the queue's head: what stands behind has no turn before it."""
        while (head := self._waiting.expired_head(now_unix_ms)) is not None:
            deltas.append(self.fail(head.request_id, EXPIRED))

    def _next_prefill(self) -> list[tuple[Sequence, int]]:
        """Returns the sequences to prefill now, admitted, each with its number of new tokens."""
        batch: list[tuple[Sequence, int]] = []
        budget = self._limits.chunk_tokens
        if self._chunked is not None:
            budget -= self._add_chunk(self._chunked, budget, batch)
        slots = self._slots - len(batch)
        if self._chunked is not None or slots <= 0 or self._kv_full or not len(self._waiting):
            return batch
        reserved_tokens = self._reserve.tokens(self._running)
        for sequence in self._waiting.next(slots, self._limits.policy, self._pages.cached):
            if budget <= 0 or self._chunked is not None:
                break
            reserved_tokens += remaining(sequence)
            idle = not (batch or self._running or self._reserved)
            if not self._admit(sequence, reserved_tokens, idle=idle):
                self._kv_full = True
                break
            if sequence.awaits_cache:
                self._reserved[sequence.request_id] = sequence
                self.on_reserved(sequence.request_id)
                continue
            budget -= self._add_chunk(sequence, budget, batch)
        return batch

    def _admit(self, sequence: Sequence, future_tokens: int, *, idle: bool) -> bool:
        if not self._pages.admit(sequence, future_tokens, idle=idle):
            return False
        self._waiting.remove(sequence)
        if sequence.cached_tokens is None:
            sequence.cached_tokens = sequence.kv_tokens
            self._waiting.note_hit(sequence.length, sequence.kv_tokens)
        return True

    def _add_chunk(self, sequence: Sequence, budget: int, batch: list[tuple[Sequence, int]]) -> int:
        """Plans as much of a sequence's prefill as the budget allows; what is left makes it the
        chunked one.
        """
        wanted = sequence.length - sequence.kv_tokens
        taken = wanted if wanted <= budget else budget // self._page * self._page
        self._chunked = sequence if taken < wanted else None
        if taken:
            batch.append((sequence, taken))
        return taken

    def _prefill(self, batch: list[tuple[Sequence, int]], deltas: list[Delta]) -> Step:
        tokens = seen_tokens = generated = 0
        for sequence, taken in batch:
            tokens += taken
            seen_tokens += sequence.see()
            sequence.kv_tokens += taken
            self._pages.share_computed(sequence)
            if sequence.kv_tokens == sequence.length:
                generated += self._begin(sequence, deltas)
        return Step(self._timing.prefill_ms(tokens, seen_tokens), deltas, generated, prefill=True)

    def _begin(self, sequence: Sequence, deltas: list[Delta]) -> int:
        """Goes on with a sequence whose prompt is computed; returns how many tokens that made."""
        if not self._generate(sequence, deltas):
            self._running.append(sequence)
        return 1

    def _decode(self, deltas: list[Delta]) -> Step:
        page = self._page
        needed = [sequence for sequence in self._running if not sequence.kv_tokens % page]
        while needed and not self._pool.allocate(len(needed)):
            self._retract()
            needed = [sequence for sequence in self._running if not sequence.kv_tokens % page]
        for sequence in needed:
            sequence.own_pages += 1
        self._reserve.decoded()
        duration_ms = self._timing.decode_ms(self._pool.used_pages / self._pool.page_count)
        running, generate = self._running, self._generate
        count, ended = len(running), False
        for sequence in running:
            sequence.kv_tokens += 1
            ended |= generate(sequence, deltas)
        if ended:
            self._running = [sequence for sequence in running if sequence.request_id in self._by_id]
        return Step(duration_ms, deltas, count)

    def _generate(self, sequence: Sequence, deltas: list[Delta]) -> bool:
        """Appends the next token, tells it if it is time, and returns whether it was the last."""
        output = sequence.output
        if sequence.max_new_tokens == 0:
            return self._finish(sequence, sequence.finished("length"), deltas)
        may_end = len(output) >= sequence.may_end_at
        token_id, packed = sequence.write(self._text, may_end=may_end)
        if may_end and token_id in sequence.stop_ids:
            return self._finish(sequence, sequence.finished("stop", token_id), deltas)
        if len(output) >= sequence.max_new_tokens:
            return self._finish(sequence, sequence.finished("length"), deltas)
        sequence.tell(packed, deltas)
        return False

    def _finish(self, sequence: Sequence, end: Finished, deltas: list[Delta]) -> bool:
        deltas.append(sequence.take_delta(end))
        del self._by_id[sequence.request_id]
        self._free(sequence)
        return True

    def _take_out(self, sequence: Sequence) -> None:
        """Forgets a sequence wherever it is. What it computed stays cached."""
        del self._by_id[sequence.request_id]
        if sequence.request_id in self._waiting:
            self._waiting.remove(sequence)
            self._kv_full = False
            return
        if sequence is self._chunked:
            self._chunked = None
        elif sequence.awaits_cache:
            del self._reserved[sequence.request_id]
        else:
            self._running.remove(sequence)
        self._free(sequence)

    def _free(self, sequence: Sequence) -> None:
        self._pages.share_computed(sequence)
        self._pages.free(sequence)
        self._kv_full = False

    def _retract(self) -> None:
        """Sends the running sequence that is cheapest to compute again to the queue's end."""
        victim = cheapest(self._running)
        assert len(self._running) > 1, "one sequence alone always fits: RequestLimits.kv_tokens_max"
        self._running.remove(victim)
        self._pages.free(victim)
        self._kv_full = False
        self._waiting.add(victim)
        self.retractions += 1
        self._reserve.retracted(self._running)
