"""Requests wait for prefill by priority and then in order of arrival, removable from anywhere."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import Final, Literal

from protocol.replies import Failed
from workers.sim.scheduling.sequence import Sequence

_HIT_RATE_WINDOW_TOKENS: Final = 1 << 20
"""Counts are halved when they reach this many tokens, so that the hit rate follows the last million
prompt tokens.
"""


EXPIRED: Final = Failed("deadline_exceeded", "The deadline passed before the request was run.")
"""The end of a request whose turn did not come in time."""

_LPM_QUEUE_MAX: Final = 128
"""Queues longer than this are served first come, first served even under lpm, as in SGLang:
matching all of them costs too much.
"""


class WaitingQueue:
    """A WaitingQueue is a FIFO by request id, which also estimates how many of its tokens are
    uncached.
    """

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Sequence] = OrderedDict()
        self._tokens = 0
        self._urgencies = 0
        """This many sequences have a priority that is not 0: while there is none, the order of
        arrival is the order.
        """
        self._admitted_tokens = 0
        self._hit_tokens = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._by_id.values())

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._by_id

    @property
    def uncached_tokens(self) -> int:
        """Returns how many tokens are to compute, if they hit the cache as often as the latest did
        (how SGLang estimates it under fcfs).
        """
        miss_rate = 1.0 - self._hit_tokens / self._admitted_tokens if self._admitted_tokens else 1.0
        return int(self._tokens * miss_rate)

    def add(self, sequence: Sequence) -> None:
        """Puts a sequence at the end."""
        self._by_id[sequence.request_id] = sequence
        self._urgencies += bool(sequence.priority)
        self._tokens += sequence.length

    def first(self, count: int) -> list[Sequence]:
        """Returns up to `count` sequences in the order of their turns."""
        if not self._urgencies:
            return list(islice(self, count))
        # stable, as SGLang's sort
        return nsmallest(count, self, key=lambda sequence: -sequence.priority)

    def longest_cached_first(self, count: int, cached: Callable[[Sequence], int]) -> list[Sequence]:
        """Returns up to `count` sequences, those first of which the cache has most pages (SGLang:
        lpm).
        """
        if len(self) > _LPM_QUEUE_MAX:
            return self.first(count)
        return sorted(self, key=lambda sequence: -cached(sequence))[:count]

    def next(
        self, count: int, policy: Literal["fcfs", "lpm"], cached: Callable[[Sequence], int]
    ) -> list[Sequence]:
        """Returns up to `count` sequences in the order of a policy."""
        return self.longest_cached_first(count, cached) if policy == "lpm" else self.first(count)

    def expired_head(self, now_unix_ms: int) -> Sequence | None:
        """Returns the sequence that has waited longest, if its deadline has passed."""
        head = next(iter(self._by_id.values()), None)
        return head if head is not None and head.deadline_unix_ms <= now_unix_ms else None

    def remove(self, sequence: Sequence) -> None:
        """Takes a sequence out, wherever it stands."""
        del self._by_id[sequence.request_id]
        self._urgencies -= bool(sequence.priority)
        self._tokens -= sequence.length

    def note_hit(self, prompt_tokens: int, cached_tokens: int) -> None:
        """Notes that a sequence was admitted with this much of it cached."""
        self._admitted_tokens += prompt_tokens
        self._hit_tokens += cached_tokens
        if self._admitted_tokens >= _HIT_RATE_WINDOW_TOKENS:
            self._admitted_tokens //= 2
            self._hit_tokens //= 2
