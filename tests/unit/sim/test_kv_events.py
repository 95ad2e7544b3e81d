"""What a sim rank publishes, read by someone who knows nothing but the events, against what its
cache holds; and when it does so.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from kv_events.hashing import chain_hashes, root_hash
from kv_events.sglang_wire import AllBlocksCleared, BlockRemoved, BlockStored, decode_batch
from protocol.generation import Finished
from protocol.tokens import pack_tokens
from protocol.transport.sockets import Socket
from starter.ports import reserve_ports
from workers.kv_events_config import KvEventsConfig, with_events
from workers.sim.faults import Faults
from workers.sim.pictures import SimPictures
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.scheduling.namespace import PLAIN, Namespace
from workers.sim.scheduling.radix_cache import RadixCache

PAGE = 4
PAGE_BYTES = PAGE * 4
SPACES = (PLAIN, Namespace("adapter"), Namespace(None, "tenant"), Namespace("adapter", "tenant"))
Prefixes = set[tuple[Namespace, bytes]]
Requests = Callable[..., Any]


@pytest.fixture
def outlet() -> Iterator[KvOutlet]:
    """One without replays, which needs no event loop: what it keeps for them is read from it
    directly.
    """
    context = zmq.Context[Socket]()
    config = KvEventsConfig(publisher="zmq", endpoint=f"tcp://127.0.0.1:{reserve_ports(1)}")
    made = KvOutlet(
        context, config, 0, page_size=PAGE, steps_max=5, faults=Faults(), pictures=SimPictures()
    )
    yield made
    made.close()
    context.term()


class Reader:
    """Believes every batch, knows nothing else.

    `prefixes` is what must be cached then, each page by all tokens up to its end.
    """

    def __init__(self, outlet: KvOutlet) -> None:
        self._outlet = outlet
        self._read = 0
        self._pages: dict[int, tuple[Namespace, bytes]] = {}

    @property
    def prefixes(self) -> Prefixes:
        return set(self._pages.values())

    def catch_up(self) -> None:
        self._outlet.flush()
        while self._outlet._sent:
            number, payload = self._outlet._sent.popleft()
            assert number == self._read
            self._read += 1
            for event in decode_batch(payload).events:
                self._apply(event)

    def _apply(self, event: Any) -> None:
        match event:
            case BlockStored():
                assert (event.block_size, len(event.token_ids), event.medium) == (
                    PAGE,
                    PAGE * len(event.block_hashes),
                    "GPU",
                )
                own = Namespace(event.lora_name, event.cache_salt)
                space, prefix = (
                    (own, b"")
                    if event.parent_block_hash is None
                    else self._pages[event.parent_block_hash]
                )
                assert space == own
                for index, page in enumerate(event.block_hashes):
                    assert page not in self._pages
                    prefix += pack_tokens(event.token_ids[index * PAGE : (index + 1) * PAGE])  # type: ignore[arg-type]
                    self._pages[page] = (space, prefix)
            case BlockRemoved():
                assert event.medium == "GPU"
                for page in event.block_hashes:
                    del self._pages[page]
            case _:
                self._pages.clear()


def held(cache: RadixCache) -> Prefixes:
    """What the tree itself holds."""
    spaces = {space.key: space for space in SPACES}
    found: Prefixes = set()

    def walk(node: Any, space: Namespace, before: bytes) -> None:
        for end in range(PAGE_BYTES, len(node.pages) + 1, PAGE_BYTES):
            found.add((space, before + node.pages[:end]))
        for child in node.children.values():
            walk(child, space, before + node.pages)

    for key, child in cache.root.children.items():
        walk(child, spaces[key[:-PAGE_BYTES]], b"")
    return found


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=30)
asked = st.tuples(
    prompts, st.integers(1, 14), st.sampled_from(SPACES), st.none() | st.integers(0, 8)
)
"""Prompt, tokens to generate, namespace, and the step after which it is aborted."""


def test_the_events_always_tell_what_is_cached_and_what_a_request_finds(
    outlet: KvOutlet, bench: Requests, request_for: Requests
) -> None:
    """A cache of 14 pages, so that requests evict and retract each other."""
    rounds = st.lists(st.lists(asked, min_size=1, max_size=4), min_size=1, max_size=8)
    reader = Reader(outlet)

    @settings(max_examples=75, deadline=None)
    @given(rounds)
    def check(rounds: list[list[Any]]) -> None:
        outlet.cleared()  # a new cache
        rank = bench(pages=14, page=PAGE, chunk_tokens=12, listener=outlet)
        number = 0
        for together in rounds:
            reader.catch_up()
            before, aborts = reader.prefixes, {}
            for prompt, new_tokens, space, abort_after in together:
                number += 1
                rank.submit(
                    request_for(
                        number,
                        prompt,
                        new_tokens,
                        lora_name=space.lora_name,
                        cache_salt=space.cache_salt,
                    )
                )
                aborts[f"{number:032x}"] = abort_after
            steps = 0
            while rank.scheduler.busy:
                rank.step()
                reader.catch_up()
                assert reader.prefixes == held(rank.cache)
                for request_id in [name for name, after in aborts.items() if after == steps]:
                    rank.abort(request_id)
                steps += 1
            if len(together) == 1:
                (prompt, _, space, _), end = together[0], rank.answers.ends[f"{number:032x}"]
                packed = pack_tokens(prompt)
                usable = range(PAGE_BYTES, (len(prompt) - 1) // PAGE * PAGE_BYTES + 1, PAGE_BYTES)
                assert isinstance(end, Finished)
                assert end.cached_tokens == PAGE * sum(
                    (space, packed[:size]) in before for size in usable
                )
        reader.catch_up()

    check()


def published(outlet: KvOutlet) -> list[list[Any]]:
    """The events of each batch but the first, which says that nothing is cached."""
    return [decode_batch(payload).events for number, payload in outlet._sent if number]


def test_chains_and_removals_are_joined_and_nothing_else(outlet: KvOutlet) -> None:
    cache = RadixCache(PAGE, outlet)
    tokens = list(range(16))
    cache.insert(pack_tokens(tokens[:8]), 2)
    cache.insert(pack_tokens(tokens), 4)
    cache.insert(pack_tokens(tokens), 4)  # nothing new, so nothing is said
    cache.insert(pack_tokens(tokens[:8] + [77] * 4), 3)
    cache.insert(pack_tokens(tokens[:4]), 1, Namespace("adapter", "tenant"))
    cache.match(pack_tokens(tokens), 1)  # splits a node: nothing is said
    cache.evict(2)
    cache.evict(1)
    cache.insert(pack_tokens([5] * 4), 1)
    outlet.flush()
    ((chain, branch, adapter, gone, last),) = published(outlet)
    assert (chain.parent_block_hash, len(chain.block_hashes), chain.token_ids) == (None, 4, tokens)
    assert (branch.parent_block_hash, branch.token_ids) == (chain.block_hashes[1], [77] * 4)
    assert (adapter.parent_block_hash, adapter.lora_name, adapter.cache_salt) == (
        None,
        "adapter",
        "tenant",
    )
    assert adapter.block_hashes[0] not in chain.block_hashes
    assert (type(gone), len(gone.block_hashes), last.lora_name, last.cache_salt) == (
        BlockRemoved,
        3,
        None,
        None,
    )
    assert set(chain.block_hashes).isdisjoint(
        chain_hashes(pack_tokens(tokens), PAGE, root_hash(PAGE))
    )


def test_without_a_listener_no_page_has_an_id() -> None:
    cache = RadixCache(PAGE)
    for last in range(3):
        cache.insert(pack_tokens([1] * 8 + [last] * 4), 3)
    cache.evict(2)
    assert not any(node.ids for node in [cache.root, *cache.root.children.values()])
    listened = RadixCache(PAGE, Told())
    listened.insert(pack_tokens([1] * 8), 2)
    assert len(next(iter(listened.root.children.values())).ids) == 2
    assert not cache.root.ids


class Told:
    """A listener that does not listen."""

    def stored(self, *_: object) -> None: ...

    def removed(self, *_: object) -> None: ...

    def cleared(self) -> None: ...


def test_the_first_batch_has_number_0_and_says_that_nothing_is_cached(outlet: KvOutlet) -> None:
    ((number, payload),) = outlet._sent
    batch = decode_batch(payload)
    assert (number, batch.events, batch.attn_dp_rank) == (0, [AllBlocksCleared()], 0)
    assert abs(batch.ts - time.time()) < 60
    outlet.flush()
    assert len(outlet._sent) == 1  # nothing happened, so nothing is said


def test_batches_leave_after_a_prefill_when_idle_and_every_fifth_decode_step(
    outlet: KvOutlet,
) -> None:
    decode, prefill, idle = (
        {"prefill": False, "idle": False},
        {"prefill": True, "idle": False},
        {"prefill": False, "idle": True},
    )
    said: list[bool] = []
    for step in [decode] * 3 + [prefill] + [decode] * 7 + [idle]:
        before = outlet._next
        outlet.removed([1])
        outlet.after_step(**step)
        said.append(outlet._next > before)
    # A prefill in between does not begin the count anew.
    assert said == [False] * 3 + [True] + [False, True] + [False] * 4 + [True] + [True]


async def test_what_a_decode_step_cached_is_said_at_the_next_interval(
    started: Any, request_for: Requests, answers: Any
) -> None:
    long, short = f"{1:032x}", f"{2:032x}"
    steps: list[tuple[int, int]] = []
    take = answers.take

    def take_and_note(deltas: Any) -> None:
        take(deltas)
        steps.append((len(answers.tokens[long]), outlet._next))

    answers.take = take_and_note
    engine = await started(
        "--page-size", "4", "--decode-log-interval", "5", "--kv-events-config", with_events(None)
    )
    (outlet,) = engine._outlets
    engine.submit(request_for(1, [1] * 8, 30, ignore_eos=True))
    # ends in decode step 7, whose pages are said after step 10
    engine.submit(request_for(2, [2] * 8, 8, ignore_eos=True))
    await answers.end_of(long, short)
    tokens_when_said = [tokens for (tokens, said), (_, later) in pairwise(steps) if later > said]
    # A delta is told before the events of its step: the first token comes with the prefill, token
    # 11 with decode step 10.
    assert tokens_when_said == [1, 11]
    await asyncio.sleep(0)  # the turn in which the last step's events are told
    assert [len(events) for events in published(outlet)] == [
        2,
        1,
        1,
    ]  # both prompts, what the short one generated, and once idle the long one


async def test_a_flush_empties_the_ranks_that_are_idle(
    started: Any, request_for: Requests, answers: Any
) -> None:
    argv = ["--dp-size", "2", "--kv-events-config", with_events(None)]
    engine = await started(*argv, "--page-size", "4", speedup="1")
    engine.submit(request_for(1, [1] * 8, 1, routed_dp_rank=0))
    await answers.end_of(f"{1:032x}")
    await asyncio.sleep(0)  # the turn in which the step's events are told
    engine.submit(request_for(2, [1] * 8, 3000, routed_dp_rank=1, ignore_eos=True))
    assert not engine.flush_cache()
    idle, busy = engine._outlets
    assert published(idle)[-1] == [AllBlocksCleared()]
    assert not published(busy)
    engine.abort(f"{2:032x}")
    await answers.end_of(f"{2:032x}")
    assert engine.flush_cache()
    assert published(busy)[-1][-1] == AllBlocksCleared()
    await engine.stop()
    assert engine.flush_cache()  # there is nothing left to say it to
