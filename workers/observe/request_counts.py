"""A worker's requests are counted when they come, when they first put something out, and when they
end.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from protocol.embedding import Embedded
from protocol.errors import DeadlineExceeded, EngineFault, NoWorker, Overloaded, error_from_code
from protocol.generation import Finished
from protocol.replies import Delta, Failed
from protocol.requests import Work
from workers.observe.histogram import Histogram
from workers.observe.hit_rate import HitRate

_DURATION_S: Final = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 25.0, 50.0, 100.0, 250.0, 500.0),
)
_FIRST_RESPONSE_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0),
)
_BATCH_TEXTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_BATCH_TOKENS: Final = (1, 4, 16, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 32_768)

_REFUSALS: Final = (Overloaded, NoWorker, DeadlineExceeded)
"""These refusals are shown before the first of them, so that its rate is one."""


@dataclass(slots=True)
class _Running:
    taken_at: float
    dp_rank: int
    answered: bool = False


class RequestCounts:
    """RequestCounts counts the requests that frontends sent. Written on the worker's loop, and read
    by other threads at any time.

    A request costs some microseconds, a token in between nothing.

    Args:
        clock: monotonic seconds.
    Attributes:
        taken: requests that the engine was given.
        request_bytes: size of all requests that arrived.
        response_bytes: size of all messages with output that left.
        cancelled: requests that were aborted, or whose frontend was lost.
        refused: requests that the engine was not given, by the error's code.
        failed: requests that the engine was given and that ended so, by the error's code.
        completion_tokens: of requests that ended.
        ranks: what the prompts of each rank found in its cache.
        batch_texts, batch_tokens: of each step of the engine that gave vectors.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.taken = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.cancelled = 0
        self.refused = Counter({leaf.code: 0 for leaf in _REFUSALS})
        self.failed = Counter({EngineFault.code: 0})
        self.completion_tokens = 0
        self.durations = Histogram(_DURATION_S)
        self.first_responses = Histogram(_FIRST_RESPONSE_S)
        self.batch_texts = Histogram(_BATCH_TEXTS)
        self.batch_tokens = Histogram(_BATCH_TOKENS)
        self.ranks: list[HitRate] = []
        self._texts = self._texts_tokens = 0
        """Those of the step that is under way."""
        self._running: dict[str, _Running] = {}
        """Bounded as the requests are that somebody waits for (`Intake`)."""

    @property
    def running(self) -> int:
        """Returns how many requests have not ended."""
        return len(self._running)

    def open(self, dp_size: int) -> None:
        """Counts from here on what so many ranks of an engine find in their caches."""
        self.ranks = [HitRate() for _ in range(dp_size)]

    def note_taken(self, request: Work) -> None:
        """Counts a request that the engine is given."""
        self.taken += 1
        self._running[request.request_id] = _Running(self._clock(), request.routed_dp_rank or 0)

    def note_refused(self, failed: Failed) -> None:
        """Counts a request that the engine is not given."""
        self.refused[_code(failed)] += 1

    def note_left(self, request_id: str, *, cancels: bool) -> None:
        """Counts a request whose frontend is lost, which may cancel it."""
        self._end(request_id)
        self.cancelled += cancels

    def note_output(self, delta: Delta) -> None:
        """Counts what a request put out first, and what it put out last; nobody need tell of what
        is in between.
        """
        running = self._running.get(delta.request_id)
        if running is None:
            return
        if not running.answered:
            running.answered = True
            self.first_responses.note(self._clock() - running.taken_at)
        end = delta.end
        if end is None:
            return
        self._end(delta.request_id)
        if isinstance(end, Finished):
            self.completion_tokens += end.completion_tokens
            if running.dp_rank < len(self.ranks):
                self.ranks[running.dp_rank].note(end.prompt_tokens, end.cached_tokens)
        elif isinstance(end, Embedded):
            self._texts += 1
            self._texts_tokens += end.prompt_tokens
        elif isinstance(end, Failed):
            self.failed[_code(end)] += 1

    def note_step(self) -> None:
        """Ends what one step of the engine put out."""
        if self._texts:
            self.batch_texts.note(self._texts)
            self.batch_tokens.note(self._texts_tokens)
            self._texts = self._texts_tokens = 0

    def _end(self, request_id: str) -> None:
        running = self._running.pop(request_id, None)
        if running is not None:
            self.durations.note(self._clock() - running.taken_at)


def _code(failed: Failed) -> str:
    """Returns the code of an error as one of those that there are, since it becomes a label."""
    return error_from_code(failed.code, "").code
