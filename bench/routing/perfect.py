"""What a single cache without bounds would have had of each prompt: the most that any routing could
get.
"""

from typing import Final

from bench.routing.engine_rank import PAGE_TOKENS
from kv_events.hashing import chain_hashes

_ROOT: Final = 1


class PerfectCache:
    """Every prompt counts as cached from the moment it arrives, every output from its end."""

    def __init__(self) -> None:
        self._pages: set[int] = set()

    def arrived(self, prompt: bytes) -> int:
        """Tokens of a prompt that came before; at least its last one is new, as in the engine."""
        pages = chain_hashes(prompt, PAGE_TOKENS, _ROOT)
        low, high = 0, min(len(pages), (len(prompt) // 4 - 1) // PAGE_TOKENS)
        while low < high:
            middle = (low + high) >> 1
            if pages[middle] in self._pages:
                low = middle + 1
            else:
                high = middle
        self._pages.update(pages[low:])
        return low * PAGE_TOKENS

    def answered(self, prompt: bytes, output: bytes) -> None:
        """The last token's KV is never computed."""
        self._pages.update(
            chain_hashes((prompt + output)[:-4], PAGE_TOKENS, _ROOT)[
                len(prompt) // 4 // PAGE_TOKENS :
            ]
        )
