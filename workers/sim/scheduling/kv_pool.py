"""The KV cache of one rank is a number of pages: those of requests, those of the prefix cache, the
free ones.
"""

from workers.sim.scheduling.radix_cache import RadixCache


class KvPool:
    """A KvPool accounts for pages. `request_pages + cache.page_count <= page_count` always.

    Attributes:
        request_pages: pages that requests hold outside the prefix cache.
    """

    def __init__(self, page_count: int, cache: RadixCache) -> None:
        self.page_count = page_count
        self.request_pages = 0
        self._cache = cache

    @property
    def available_pages(self) -> int:
        """Returns how many pages are free or would be freed by eviction."""
        return (
            self.page_count
            - self.request_pages
            - self._cache.page_count
            + self._cache.evictable_count
        )

    @property
    def used_pages(self) -> int:
        """Returns how many pages running requests need: their own, and what they have locked in the
        cache.
        """
        return self.page_count - self.available_pages

    def allocate(self, pages: int) -> bool:
        """Gives a request `pages` pages, evicting cached ones as needed.

        False, and no change, if that cannot be done.
        """
        short = pages - (self.page_count - self.request_pages - self._cache.page_count)
        if short > 0:
            if short > self._cache.evictable_count:
                return False
            self._cache.evict(short)
        self.request_pages += pages
        return True

    def release(self, pages: int) -> None:
        """Takes `pages` pages back from a request: they are free, or the prefix cache's from now
        on.
        """
        self.request_pages -= pages
