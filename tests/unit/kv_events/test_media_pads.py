"""Tokens of pictures in hashed prompts: as SGLang's cache has them, whatever they came in."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.routing.route import RouteRequest
from kv_events.block_table import BlockTable
from kv_events.hashing import block_hash, chain_hashes, root_hash, wide_chain_hashes
from kv_events.media_pads import Padded, padded, pads
from kv_events.sglang_wire import BlockStored
from protocol.kv_stream import Stored, unpack_hashes
from protocol.tokens import pack_tokens

BLOCK = 4


def test_pads_are_wide_and_differ_with_the_digest() -> None:
    first, other = pads(0xDEADBEEF), pads(0xDEADBEF0)
    assert len({*first, *other}) == 8
    assert all(2**32 < pad < 2**63 for pad in first)


def test_a_run_has_the_pads_in_turn() -> None:
    one = pads(7)
    made = padded([1, 2, 9, 9, 9, 9, 9, 9, 3], [Padded(2, 6, 7)])
    assert [*made] == [1, 2, *one, *one[:2], 3]


@given(st.lists(st.integers(0, 2**32 - 1), max_size=40))
def test_text_is_hashed_alike_in_whatever_it_comes(tokens: list[int]) -> None:
    root = root_hash(BLOCK)
    assert wide_chain_hashes(array("Q", tokens), BLOCK, root) == chain_hashes(
        pack_tokens(tokens), BLOCK, root
    )


@given(
    st.lists(st.integers(0, 2**31), min_size=12, max_size=40),
    st.integers(0, 11),
    st.integers(1, 8),
    st.integers(1, 2**63 - 1),
)
def test_what_is_routed_is_what_is_told(
    tokens: list[int], at: int, count: int, digest: int
) -> None:
    """The blocks of a request with a picture, and those that an engine's one event makes."""
    count = min(count, len(tokens) - at)
    media = [Padded(at, count, digest)]
    route = RouteRequest(pack_tokens(tokens), media=media)
    whole = len(tokens) // BLOCK * BLOCK
    told = [*padded(tokens, media)][:whole]
    event = BlockStored([*range(100, 100 + whole // BLOCK)], None, told, BLOCK)  # type: ignore[list-item]
    (change,) = BlockTable(BLOCK).apply(event)
    assert isinstance(change, Stored)
    assert [*unpack_hashes(change.hashes)] == route.blocks(BLOCK)


def test_other_pictures_share_what_is_before_them_and_nothing_else() -> None:
    tokens = [*range(1, 9), *[9] * 6, *range(20, 30)]
    one, other = (
        RouteRequest(pack_tokens(tokens), media=[Padded(8, 6, digest)]).blocks(BLOCK)
        for digest in (1, 2)
    )
    assert one[:2] == other[:2]
    assert not {*one[2:]} & {*other[2:]}


def test_behind_a_medium_of_unknown_length_nothing_is_known() -> None:
    tokens = [*range(1, 9), 10, *range(20, 30)]
    route = RouteRequest(pack_tokens(tokens), media=[Padded(8, 0, 5)])
    assert len(route.blocks(BLOCK)) == 2
    assert route.followed_by(pack_tokens([1] * 8)).blocks(BLOCK) == route.blocks(BLOCK)


@pytest.mark.parametrize("typecode", ["I", "Q"])
def test_a_block_of_text_has_one_hash(typecode: str) -> None:
    assert block_hash(array(typecode, [1, 2, 3]), 5) == block_hash(array("I", [1, 2, 3]), 5)
