"""The KV pages of one rank's sequences lie in the prefix cache or are their own."""

from workers.sim.scheduling.kv_pool import KvPool
from workers.sim.scheduling.radix_cache import RadixCache
from workers.sim.scheduling.sequence import Sequence


class SequencePages:
    """SequencePages gives sequences their pages and takes them back.

    Args:
        pool: all pages of the rank.
        shares: whether equal prefixes share their pages.
    """

    def __init__(self, cache: RadixCache, pool: KvPool, page_tokens: int, *, shares: bool) -> None:
        self._cache = cache
        self._pool = pool
        self._page = page_tokens
        self._shares = shares

    def cached(self, sequence: Sequence) -> int:
        """Returns how many of a sequence's first pages the cache has."""
        return self._cache.cached_pages(
            sequence.tokens, sequence.length // self._page, sequence.namespace
        )

    def admit(self, sequence: Sequence, future_tokens: int, *, idle: bool) -> bool:
        """Finds a sequence's prefix and takes the pages for the rest.

        Args:
            future_tokens: that are to stay free besides, for what running sequences will yet make.
            idle: nothing else runs.
        Returns:
            False, and no change, if there is too little room.
        """
        length = sequence.length
        node, matched = self._cache.root, 0
        if self._shares:
            # One token at least is computed: the last one's logits are what the step is for.
            node, matched = self._cache.match(
                sequence.tokens, (length - 1) // self._page, sequence.namespace
            )
        self._cache.lock(node)
        pages = -(-length // self._page) - matched
        future = -(-future_tokens // self._page)
        # An idle rank takes its head whatever the reserve says: nothing else would ever make room.
        if (not idle and pages + future > self._pool.available_pages) or not self._pool.allocate(
            pages
        ):
            self._cache.unlock(node)
            return False
        sequence.node, sequence.node_pages, sequence.own_pages = node, matched, pages
        sequence.kv_tokens = matched * self._page
        return True

    def take_over(self, sequence: Sequence) -> None:
        """Takes the prompt of an admitted sequence as computed, but for the last token: its next
        step is one of decoding, which takes the page of that token if it is the page's first.
        """
        sequence.kv_tokens = sequence.length - 1
        if sequence.kv_tokens % self._page == 0:
            self._pool.release(1)
            sequence.own_pages -= 1

    def share_computed(self, sequence: Sequence) -> None:
        """Gives the whole pages that were computed to the prefix cache; pages it has already are
        freed.
        """
        pages = sequence.kv_tokens // self._page
        moved = pages - sequence.node_pages
        if moved <= 0 or not self._shares:
            return
        assert sequence.node is not None
        node = self._cache.insert(sequence.tokens, pages, sequence.namespace)
        self._cache.lock(node)
        self._cache.unlock(sequence.node)
        self._pool.release(moved)
        sequence.own_pages -= moved
        sequence.node, sequence.node_pages = node, pages

    def free(self, sequence: Sequence) -> None:
        """Takes back what is a sequence's own; what it shares stays cached."""
        assert sequence.node is not None
        self._cache.unlock(sequence.node)
        self._pool.release(sequence.own_pages)
        sequence.node, sequence.node_pages, sequence.own_pages, sequence.kv_tokens = None, 0, 0, 0
        sequence.steps_left = 0
