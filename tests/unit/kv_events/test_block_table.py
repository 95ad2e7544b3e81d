"""Pages of an engine → blocks of the router, against a naive model that remembers whole
prefixes.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kv_events.block_table import BlockTable
from kv_events.hashing import chain_hashes, root_hash
from kv_events.sglang_wire import AllBlocksCleared, BlockRemoved, BlockStored, Event
from protocol.errors import ProtocolViolation
from protocol.kv_stream import Change, Cleared, Removed, Stored, unpack_hashes
from protocol.tokens import pack_tokens
from tests.unit.kv_events.examples import examples

PAGE = 2
MEDIUM_NAMES = ["GPU", "CPU_PINNED", "DISK"]

Prefix = tuple[str | None, tuple[int, ...]]
"""LoRA name and tokens of whole pages."""


class EngineModel(RuleBasedStateMachine):
    """A radix cache in three media, told page by page; blocks of one to four pages."""

    @initialize(pages_per_block=st.integers(1, 4))
    def begin(self, pages_per_block: int) -> None:
        self.size = PAGE * pages_per_block
        self.table = BlockTable(self.size)
        self.held: dict[str, set[Prefix]] = {name: set() for name in MEDIUM_NAMES}
        self.told: list[set[int]] = [set(), set(), set()]
        self.loads = 0
        self.ids: dict[Prefix, int] = {}

    def page_id(self, prefix: Prefix) -> int:
        return self.ids.setdefault(prefix, len(self.ids) * (-1) ** len(self.ids))

    def apply(self, event: Event) -> None:
        for change in self.table.apply(event):
            self.take(change)

    def take(self, change: Change) -> None:
        match change:
            case Stored():
                new = set(unpack_hashes(change.hashes))
                assert new.isdisjoint(self.told[change.medium]), "told twice"
                self.told[change.medium] |= new
            case Removed():
                gone = set(unpack_hashes(change.hashes))
                assert gone <= self.told[change.medium], "removed what was not there"
                self.told[change.medium] -= gone
            case Cleared():
                self.told = [set(), set(), set()]

    @rule(
        tokens=st.lists(st.integers(0, 2), min_size=PAGE, max_size=8 * PAGE),
        lora=st.sampled_from([None, "a"]),
        slower=st.integers(0, 2),
    )
    def store(self, tokens: list[int], lora: str | None, slower: int) -> None:
        """A prompt is computed, or written through to a slower medium as far as the faster one
        holds it.
        """
        name = MEDIUM_NAMES[slower]
        prefixes = [(lora, tuple(tokens[:end])) for end in range(PAGE, len(tokens) + 1, PAGE)]
        if slower:
            prefixes = [
                prefix for prefix in prefixes if prefix in self.held[MEDIUM_NAMES[slower - 1]]
            ]
        new = [prefix for prefix in prefixes if prefix not in self.held[name]]
        if not new:
            return
        parent = (lora, new[0][1][:-PAGE])
        self.held[name].update(new)
        self.apply(
            BlockStored(
                [self.page_id(prefix) for prefix in new],
                self.page_id(parent) if parent[1] else None,
                list(new[-1][1][len(parent[1]) :]),
                PAGE,
                medium=name,
                lora_name=lora,
            )
        )

    @rule(data=st.data(), name=st.sampled_from(MEDIUM_NAMES))
    def evict_a_leaf(self, data: st.DataObject, name: str) -> None:
        held = self.held[name]
        leaves = sorted(
            (p for p in held if not any(q[0] == p[0] and q[1][:-PAGE] == p[1] for q in held)),
            key=repr,
        )
        if leaves:
            leaf = data.draw(st.sampled_from(leaves))
            held.discard(leaf)
            self.apply(BlockRemoved([self.page_id(leaf)], name))

    @rule()
    def clear(self) -> None:
        for held in self.held.values():
            held.clear()
        self.apply(AllBlocksCleared())

    @invariant()
    def what_was_told_is_what_is_held(self) -> None:
        if not hasattr(self, "size"):
            return
        for name, told, packed in zip(MEDIUM_NAMES, self.told, self.table.snapshot(), strict=True):
            expected = {
                chain_hashes(pack_tokens(tokens), self.size, root_hash(self.size, lora_name=lora))[
                    -1
                ]
                for lora, tokens in self.held[name]
                if len(tokens) % self.size == 0
            }
            assert told == expected
            assert set(unpack_hashes(packed)) == expected
        assert self.table.orphans == 0


EngineModel.TestCase.settings = examples(80, steps=30)
TestEngineModel = EngineModel.TestCase


def test_a_page_behind_an_unknown_one_is_not_taken() -> None:
    table = BlockTable(2)
    assert table.apply(BlockStored([5], 4, [1, 2], 2)) == []
    assert (table.orphans, table.blocks_held) == (1, 0)


def test_an_adapter_loaded_again_keeps_its_blocks_until_both_copies_are_gone() -> None:
    """SGLang names the pages of a second load of one adapter differently; the router knows the
    adapter's name alone.
    """
    table = BlockTable(2)
    assert len(table.apply(BlockStored([1], None, [7, 8], 2, lora_name="a"))) == 1
    assert table.apply(BlockStored([2], None, [7, 8], 2, lora_name="a")) == []
    assert table.apply(BlockRemoved([1])) == []
    assert len(table.apply(BlockRemoved([2]))) == 1


def test_speculative_pairs_count_by_their_first_token() -> None:
    pairs, plain = BlockTable(2), BlockTable(2)
    assert pairs.apply(BlockStored([1], None, [(7, 8), (8, 9)], 2)) == plain.apply(
        BlockStored([1], None, [7, 8], 2)
    )


def test_image_positions_make_a_block_of_their_own() -> None:
    image, text = BlockTable(4), BlockTable(4)
    stored = image.apply(BlockStored([1, 2], None, [7, 8, 2**62 - 1, 2**61], 2))
    assert stored != text.apply(BlockStored([1, 2], None, [7, 8, 0, 0], 2))
    assert image.blocks_held == 1


@pytest.mark.parametrize(
    "event",
    [
        BlockStored([1, 2], None, [7, 8, 9], 2),  # tokens are missing
        BlockStored([1], None, [7, 8, 9], 3),  # pages that do not divide a block
        BlockStored([1], None, [-1, 8], 2),
        BlockStored([1], None, [2**64, 8], 2),
    ],
)
def test_events_that_make_no_sense_are_violations(event: BlockStored) -> None:
    with pytest.raises(ProtocolViolation):
        BlockTable(4).apply(event)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
def test_one_event_or_many_is_the_same(tokens: list[int]) -> None:
    one, many = BlockTable(2), BlockTable(2)
    pages = len(tokens) // 2
    one.apply(BlockStored(list(range(1, pages + 1)), None, tokens[: 2 * pages], 2))
    for page in range(pages):
        many.apply(BlockStored([page + 1], page or None, tokens[2 * page : 2 * page + 2], 2))
    assert [set(unpack_hashes(blocks)) for blocks in one.snapshot()] == [
        set(unpack_hashes(blocks)) for blocks in many.snapshot()
    ]
