"""The radix tree against a model that keeps every page by its whole path."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.tokens import pack_tokens
from workers.sim.scheduling.namespace import PLAIN, Namespace
from workers.sim.scheduling.radix_cache import Node, RadixCache

PAGE = 2
Path = tuple[tuple[Any, ...], ...]
"""Pages from the root on, each with its namespace."""

SPACES = st.sampled_from([PLAIN, PLAIN, Namespace("adapter"), Namespace("adapter", "tenant")])
prompts = st.lists(st.integers(0, 1), max_size=17)


def pages_of(tokens: list[int], space: Namespace) -> Path:
    return tuple(
        (space, *tokens[start : start + PAGE])
        for start in range(0, len(tokens) // PAGE * PAGE, PAGE)
    )


class Log:
    """Rebuilds what is cached, whole prefixes by namespace, from what the listener was told."""

    def __init__(self) -> None:
        self.prefixes: dict[int, tuple[Namespace, bytes]] = {}

    def stored(
        self, parent: int | None, ids: Sequence[int], pages: bytes, namespace: Namespace
    ) -> None:
        space, prefix = (namespace, b"") if parent is None else self.prefixes[parent]
        assert (space, len(pages)) == (namespace, len(ids) * PAGE * 4)
        for number, page_id in enumerate(ids, 1):
            assert page_id not in self.prefixes
            assert -(2**63) <= page_id < 2**63
            self.prefixes[page_id] = (space, prefix + pages[: number * PAGE * 4])

    def removed(self, ids: Sequence[int]) -> None:
        for page_id in ids:
            del self.prefixes[page_id]

    def cleared(self) -> None:
        self.prefixes.clear()


class AgainstNaiveModel(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.log = Log()
        self.cache = RadixCache(PAGE, self.log)
        self.used: dict[Path, int] = {}
        self.locked: list[tuple[Node, Path]] = []
        self.now = 0

    def cached(self, path: Path) -> int:
        return next((n for n in range(len(path), 0, -1) if path[:n] in self.used), 0)

    def touch(self, path: Path) -> None:
        self.now += 1
        for n in range(1, len(path) + 1):
            self.used[path[:n]] = self.now

    def lock_counts(self) -> Counter[Path]:
        return Counter(path[:n] for _, path in self.locked for n in range(1, len(path) + 1))

    @rule(
        tokens=prompts,
        spare=st.integers(0, 3),
        keep=st.sampled_from([False, False, True]),
        space=SPACES,
    )
    def match(self, tokens: list[int], spare: int, keep: bool, space: Namespace) -> None:
        path = pages_of(tokens, space)[: max(0, len(tokens) // PAGE - spare)]
        expected = self.cached(path)
        packed = pack_tokens(tokens)
        assert self.cache.cached_pages(packed, len(path), space) == expected
        node, found = self.cache.match(packed, len(path), space)
        assert found == expected
        self.touch(path[:found])
        if keep:
            self.cache.lock(node)
            self.locked.append((node, path[:found]))

    @rule(tokens=prompts, keep=st.sampled_from([False, False, True]), space=SPACES)
    def insert(self, tokens: list[int], keep: bool, space: Namespace) -> None:
        path = pages_of(tokens, space)
        node = self.cache.insert(pack_tokens(tokens), len(path), space)
        self.touch(path)
        if keep:
            self.cache.lock(node)
            self.locked.append((node, path))

    @precondition(lambda self: self.locked)
    @rule(data=st.data())
    def unlock(self, data: st.DataObject) -> None:
        node, _ = self.locked.pop(data.draw(st.integers(0, len(self.locked) - 1)))
        self.cache.unlock(node)

    @rule(pages=st.integers(1, 6))
    def evict(self, pages: int) -> None:
        locks, dropped = self.lock_counts(), 0
        for _ in range(pages):
            leaves = [
                path
                for path in self.used
                if not locks[path] and not any(other[:-1] == path for other in self.used)
            ]
            if leaves:
                del self.used[min(leaves, key=lambda path: self.used[path])]
                dropped += 1
        assert self.cache.evict(pages) == dropped

    @precondition(lambda self: not self.locked)
    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.used.clear()

    @invariant()
    def counts_and_events_agree(self) -> None:
        locks = self.lock_counts()
        assert self.cache.page_count == len(self.used)
        assert self.cache.evictable_count == sum(1 for path in self.used if not locks[path])
        assert sorted(self.log.prefixes.values(), key=repr) == sorted(
            (
                (path[0][0], pack_tokens([token for page in path for token in page[1:]]))
                for path in self.used
            ),
            key=repr,
        )


TestAgainstNaiveModel = AgainstNaiveModel.TestCase
TestAgainstNaiveModel.settings = settings(max_examples=75, stateful_step_count=40, deadline=None)


def test_a_match_that_locks_nothing_still_saves_pages_from_eviction() -> None:
    cache = RadixCache(PAGE)
    first, second, third = (pack_tokens([token] * 4) for token in (1, 2, 3))
    for tokens in (first, second, third):
        cache.insert(tokens, 2)
    cache.match(first, 2)
    left = []
    for _ in range(6):
        assert cache.evict(1) == 1
        left.append(tuple(cache.cached_pages(tokens, 2) for tokens in (first, second, third)))
    assert left == [(2, 1, 2), (2, 0, 2), (2, 0, 1), (2, 0, 0), (1, 0, 0), (0, 0, 0)]
    assert cache.evict(1) == 0


def test_the_heap_stays_bounded_by_the_tree() -> None:
    cache = RadixCache(1)
    tokens = pack_tokens([1, 2, 3])
    for _ in range(20_000):
        node = cache.insert(tokens, 3)
        cache.lock(node)
        cache.unlock(node)
    assert len(cache._heap) < 2_000
    assert cache.evict(10) == 3
