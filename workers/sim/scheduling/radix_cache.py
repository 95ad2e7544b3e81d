"""One rank's prefix cache is a radix tree over pages of token ids; least recently used pages are
evicted from the leaves.

Scheduling shape of SGLang's RadixCache (srt/mem_cache/radix_cache.py): nodes hold runs of whole
pages, running requests lock the path they use, finished ones leave theirs behind. One difference:
SGLang evicts whole nodes, this evicts exactly the pages it was asked for, from a leaf's end, so
that what is cached does not depend on where nodes happen to be split.
"""

import heapq
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from xxhash import xxh3_64_intdigest

from protocol.tokens import TOKEN_ID_BYTES
from workers.sim.scheduling.namespace import PLAIN, Namespace

_HEAP_SLACK: Final = 1_024
"""This many outdated heap entries are tolerated before the heap is cleaned; below it cleaning costs
more than it saves.
"""

_U64: Final = (1 << 64) - 1

_NO_IDS: Final[list[int]] = []
"""Every node has these ids when nobody listens: shared, and so never changed."""


class CacheListener(Protocol):
    """A CacheListener is told of every change, for KV events.

    Pages are named by ids of the engine's own, each made from its tokens and the id before.
    """

    def stored(
        self, parent: int | None, ids: Sequence[int], pages: bytes, namespace: Namespace
    ) -> None:
        """Takes `pages` (packed tokens), which are cached now, behind the page `parent` or, without
        one, at the start of the namespace.
        """
        ...

    def removed(self, ids: Sequence[int]) -> None:
        """Takes the ids of pages that are no longer cached."""
        ...

    def cleared(self) -> None:
        """Notes that nothing is cached any more."""
        ...


class Node:
    """A Node is a run of pages behind its parent's.

    `tick` is the time of last use; `locks` counts the requests that hold it.
    """

    __slots__ = ("children", "ids", "key", "locks", "pages", "parent", "tick")

    def __init__(self, key: bytes, pages: bytes, parent: "Node | None", tick: int) -> None:
        self.key = key
        """The parent has the node under this key: the first page, behind the namespace's key below
        the root.
        """
        self.pages = pages
        self.ids = _NO_IDS
        """Each page has one of these ids; empty when nobody listens."""
        self.parent = parent
        self.tick = tick
        self.locks = 0
        self.children: dict[bytes, Node] = {}


class RadixCache:
    """A RadixCache keeps which pages are cached. Pure bookkeeping: sizes are in pages, the bound is
    kept by `KvPool`.

    Attributes:
        page_count: pages in the tree.
        evictable_count: those of them that no request has locked.
    """

    def __init__(self, page_size_tokens: int, listener: CacheListener | None = None) -> None:
        self._page_bytes = page_size_tokens * TOKEN_ID_BYTES
        self._listener = listener
        self._heap: list[tuple[int, int, Node]] = []
        self._tick = 0
        self._node_count = 0
        self._pushes = 0
        self.root = Node(b"", b"", None, 0)
        self.page_count = 0
        self.evictable_count = 0

    def match(
        self, tokens: bytes, pages_max: int, namespace: Namespace = PLAIN
    ) -> tuple[Node, int]:
        """Finds the longest cached prefix of packed `tokens` and marks it used.

        Returns:
            The node where it ends (to be locked before anything else happens) and its length in
            pages, at most `pages_max`.
        Source: RadixCache.match_prefix of SGLang, splitting nodes where the match ends.
        """
        self._tick += 1
        node, offset = self._walk(tokens, pages_max * self._page_bytes, namespace)
        return node, offset // self._page_bytes

    def cached_pages(self, tokens: bytes, pages_max: int, namespace: Namespace = PLAIN) -> int:
        """Returns the length in pages of the longest cached prefix, changing nothing."""
        way = self._way(tokens, pages_max * self._page_bytes, namespace)
        return sum(common for _, common in way) // self._page_bytes

    def insert(self, tokens: bytes, pages: int, namespace: Namespace = PLAIN) -> Node:
        """Caches the first `pages` pages of packed `tokens`; those already cached are marked used.

        Returns the node where they end.
        """
        self._tick += 1
        end = pages * self._page_bytes
        node, offset = self._walk(tokens, end, namespace)
        if offset == end:
            return node
        key = tokens[offset : offset + self._page_bytes]
        leaf = Node(key if offset else namespace.key + key, tokens[offset:end], node, self._tick)
        node.children[leaf.key] = leaf
        added = (end - offset) // self._page_bytes
        self.page_count += added
        self.evictable_count += added
        self._node_count += 1
        self._push(leaf)
        if self._listener is not None:
            parent = node.ids[-1] if offset else None
            leaf.ids = self._page_ids(leaf.pages, namespace.seed if parent is None else parent)
            self._listener.stored(parent, leaf.ids, leaf.pages, namespace)
        return leaf

    def lock(self, node: Node) -> None:
        """Keeps the pages from the root to `node` until `unlock`."""
        walk = node
        while walk.parent is not None:
            if walk.locks == 0:
                self.evictable_count -= len(walk.pages) // self._page_bytes
            walk.locks += 1
            walk = walk.parent

    def unlock(self, node: Node) -> None:
        """Takes back one `lock` of `node`."""
        walk = node
        while walk.parent is not None:
            walk.locks -= 1
            if walk.locks == 0:
                self.evictable_count += len(walk.pages) // self._page_bytes
                if not walk.children:
                    self._push(walk)
            walk = walk.parent

    def evict(self, pages: int) -> int:
        """Drops up to `pages` unlocked pages, least recently used first.

        Returns how many were dropped.
        """
        left = pages
        while left > 0 and self._heap:
            tick, _, node = heapq.heappop(self._heap)
            if node.parent is None or node.children or node.locks:
                continue
            if tick != node.tick:
                self._push(node)
                continue
            left -= self._trim(node, left)
        return pages - left

    def clear(self) -> None:
        """Forgets everything. No page may be locked."""
        assert self.evictable_count == self.page_count
        self._heap.clear()
        self.root.children.clear()
        self.page_count = self.evictable_count = self._node_count = 0
        if self._listener is not None:
            self._listener.cleared()

    def _page_ids(self, pages: bytes, seed: int) -> list[int]:
        """Returns signed 64-bit ids, chained page by page."""
        ids: list[int] = []
        for start in range(0, len(pages), self._page_bytes):
            seed = xxh3_64_intdigest(pages[start : start + self._page_bytes], seed & _U64)
            seed = seed - (1 << 64) if seed >> 63 else seed
            ids.append(seed)
        return ids

    def _walk(self, tokens: bytes, end: int, namespace: Namespace) -> tuple[Node, int]:
        node, offset = self.root, 0
        for child, common in self._way(tokens, end, namespace):
            node = child if common == len(child.pages) else self._split(child, common)
            node.tick = self._tick
            offset += common
        return node, offset

    def _way(self, tokens: bytes, end: int, namespace: Namespace) -> Iterator[tuple[Node, int]]:
        """The nodes that hold tokens[:end], as far as they are cached, and how many bytes each has
        of them: all of its own, but for the last.
        """
        end, offset, node, step = min(len(tokens), end), 0, self.root, self._page_bytes
        while offset + step <= end:
            child = node.children.get(
                tokens[offset : offset + step] if offset else namespace.key + tokens[:step]
            )
            if child is None:
                return
            common = self._common_bytes(child.pages, tokens, offset, end)
            is_whole = common == len(child.pages)  # asked before it may be split
            yield child, common
            if not is_whole:
                return
            node, offset = child, offset + common

    def _common_bytes(self, pages: bytes, tokens: bytes, offset: int, end: int) -> int:
        """Returns how many bytes of whole pages `pages` shares with tokens[offset:end], of which
        the first page is known to be shared.
        """
        size = len(pages)
        if offset + size <= end and tokens.startswith(pages, offset):
            return size
        step = self._page_bytes
        low, high = 1, min(size, end - offset) // step
        while low < high:
            middle = (low + high + 1) // 2
            if tokens.startswith(pages[low * step : middle * step], offset + low * step):
                low = middle
            else:
                high = middle - 1
        return low * step

    def _split(self, node: Node, at: int) -> Node:
        """Cuts a node in two; it keeps its identity as the rear part. Returns the front part."""
        assert node.parent is not None
        front = Node(node.key, node.pages[:at], node.parent, self._tick)
        front.locks = node.locks
        node.parent.children[node.key] = front
        node.parent = front
        node.pages = node.pages[at:]
        node.key = node.pages[: self._page_bytes]
        front.children[node.key] = node
        if node.ids:
            pages = at // self._page_bytes
            front.ids, node.ids = node.ids[:pages], node.ids[pages:]
        self._node_count += 1
        return front

    def _trim(self, node: Node, pages: int) -> int:
        parent = node.parent
        assert parent is not None
        keep = max(0, len(node.pages) - pages * self._page_bytes)
        count = (len(node.pages) - keep) // self._page_bytes
        if self._listener is not None:
            self._listener.removed(node.ids[-count:])
            del node.ids[-count:]
        if keep:
            node.pages = node.pages[:keep]
            self._push(node)
        else:
            del parent.children[node.key]
            node.parent = None
            self._node_count -= 1
            if not parent.children and not parent.locks and parent.parent is not None:
                self._push(parent)
        self.page_count -= count
        self.evictable_count -= count
        return count

    def _push(self, node: Node) -> None:
        # The count settles equal ticks before nodes would be compared.
        self._pushes += 1
        heapq.heappush(self._heap, (node.tick, self._pushes, node))
        if len(self._heap) > 2 * self._node_count + _HEAP_SLACK:
            leaves = {
                node
                for _, _, node in self._heap
                if node.parent is not None and not node.children and not node.locks
            }
            self._heap = [
                (leaf.tick, order, leaf)
                for order, leaf in enumerate(sorted(leaves, key=lambda leaf: leaf.tick))
            ]
