"""An engine answers some requests of its own before anybody counts on it.

Imports no SGLang.

A GPU compiles kernels for the first batches of each shape: 3 to 10 s on an H100 with an empty
cache, in which an engine looks frozen.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from protocol.process.start_error import StartError
from protocol.replies import Delta, Failed
from protocol.requests import Work
from workers.engine import EngineFacts, FirstWork

WARM_UP_S_MAX: Final = 600.0
"""The first requests may take this many seconds: without CUDA graphs a first batch waits most of a
minute; large models on many GPUs several.
"""

FLUSH_S_MAX: Final = 10.0
"""Schedulers have this many seconds to go idle after the last token, so that their caches can be
emptied.
"""

_PROMPTS_TOKENS: Final = (1, 64, 512)
"""Prompts of these lengths are sent at once to each rank, so that prefills of one and of several
are met, with and without CUDA graphs.
"""


class WarmUp:
    """A WarmUp is the first requests for every rank, and the wait for their ends.

    Args:
        first_work: what the requests are, of the kind of worker.
    Attributes:
        waves: what to submit together: as many for each rank as its queue takes.
    """

    def __init__(self, facts: EngineFacts, first_work: FirstWork) -> None:
        capacity = facts.capacity
        tokens_max = max(1, min(facts.card.context_length, capacity.kv_tokens) // 4)
        together = min(len(_PROMPTS_TOKENS), capacity.requests_queued_max or len(_PROMPTS_TOKENS))
        self.waves = [
            [
                first_work(facts, min(tokens, tokens_max), rank if capacity.dp_size > 1 else None)
                for rank in range(capacity.dp_size)
                for tokens in _PROMPTS_TOKENS[first : first + together]
            ]
            for first in range(0, len(_PROMPTS_TOKENS), together)
        ]
        self._unfinished = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, deltas: Sequence[Delta]) -> None:
        """Counts the requests that a step of the engine ended; one that failed fails the wait."""
        for delta in deltas:
            if isinstance(delta.end, Failed) and not self._ended.done():
                self._ended.set_exception(
                    StartError(f"the engine fails on its first requests: {delta.end.message}")
                )
            self._unfinished -= delta.end is not None
        if not self._unfinished and not self._ended.done():
            self._ended.set_result(None)

    async def run(self, submit: Callable[[Work], None]) -> None:
        """Submits everything, and waits until every rank has answered.

        Raises:
            StartError: a request failed, or they took too long.
        """
        try:
            async with asyncio.timeout(WARM_UP_S_MAX):
                for wave in self.waves:
                    self._unfinished, self._ended = (
                        len(wave),
                        asyncio.get_running_loop().create_future(),
                    )
                    for request in wave:
                        submit(request)
                    await self._ended
        except TimeoutError:
            raise StartError(
                f"the engine has not answered its first requests within {WARM_UP_S_MAX:.0f} s"
            ) from None
