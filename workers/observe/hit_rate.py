"""The share of prompts that an engine had in its cache is told of its latest requests."""

from collections import deque
from typing import Final

LATEST_REQUESTS: Final = 256
"""The share is that of this many requests: enough to be steady, and to have moved within a minute
on an engine that is busy.
"""


class HitRate:
    """A HitRate is told the prompts of one rank as its requests end. One thread notes them, and
    others read at any time.

    Attributes:
        prompt_tokens: of all requests so far.
        cached_tokens: those of them that the engine found in its cache.
    """

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self._latest = deque[tuple[int, int]](maxlen=LATEST_REQUESTS)
        self._sums = (0, 0)
        """Both sums are one tuple, replaced as a whole: another thread reads it."""

    def note(self, prompt_tokens: int, cached_tokens: int) -> None:
        """Counts the prompt of a request that ended."""
        self.prompt_tokens += prompt_tokens
        self.cached_tokens += cached_tokens
        prompts, cached = self._sums
        if len(self._latest) == LATEST_REQUESTS:
            old_prompt, old_cached = self._latest[0]
            prompts, cached = prompts - old_prompt, cached - old_cached
        self._latest.append((prompt_tokens, cached_tokens))
        self._sums = (prompts + prompt_tokens, cached + cached_tokens)

    @property
    def share(self) -> float | None:
        """Returns which share of the latest requests' prompts was cached, 0 to 1; None before the
        first of them.
        """
        prompts, cached = self._sums
        return min(cached / prompts, 1.0) if prompts else None
