"""The radix tree against a model that keeps every page by its whole path."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.tokens import pack_tokens
from workers.sim.radix_cache import Node, RadixCache

PAGE = 2
Path = tuple[tuple[int, ...], ...]
prompts = st.lists(st.integers(0, 1), max_size=17)


def pages_of(tokens: list[int]) -> Path:
    return tuple(tuple(tokens[start : start + PAGE]) for start in range(0, len(tokens) // PAGE * PAGE, PAGE))


class Log:
    """Rebuilds what is cached from what the listener was told."""

    def __init__(self) -> None:
        self.cached: set[bytes] = set()

    def stored(self, prefix: bytes, pages: bytes) -> None:
        assert not prefix or prefix in self.cached
        for end in range(PAGE * 4, len(pages) + 1, PAGE * 4):
            assert prefix + pages[:end] not in self.cached
            self.cached.add(prefix + pages[:end])

    def removed(self, prefix: bytes, pages: bytes) -> None:
        for end in range(PAGE * 4, len(pages) + 1, PAGE * 4):
            self.cached.remove(prefix + pages[:end])

    def cleared(self) -> None:
        self.cached.clear()


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

    @rule(tokens=prompts, spare=st.integers(0, 3), keep=st.sampled_from([False, False, True]))
    def match(self, tokens: list[int], spare: int, keep: bool) -> None:
        path = pages_of(tokens)[: max(0, len(tokens) // PAGE - spare)]
        expected = self.cached(path)
        packed = pack_tokens(tokens)
        assert self.cache.cached_pages(packed, len(path)) == expected
        node, found = self.cache.match(packed, len(path))
        assert found == expected
        self.touch(path[:found])
        if keep:
            self.cache.lock(node)
            self.locked.append((node, path[:found]))

    @rule(tokens=prompts, keep=st.sampled_from([False, False, True]))
    def insert(self, tokens: list[int], keep: bool) -> None:
        path = pages_of(tokens)
        node = self.cache.insert(pack_tokens(tokens), len(path))
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
            leaves = [path for path in self.used if not locks[path] and not any(other[:-1] == path for other in self.used)]
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
        assert self.log.cached == {pack_tokens([token for page in path for token in page]) for path in self.used}


TestAgainstNaiveModel = AgainstNaiveModel.TestCase
TestAgainstNaiveModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


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
