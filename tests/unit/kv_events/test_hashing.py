"""Block hashes: chained, salted, and the same on both sides."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kv_events.hashing import block_hash, chain_hashes, joined, root_hash, token_array
from protocol.tokens import pack_tokens

U32 = st.integers(0, 2**32 - 1)
SIZES = st.sampled_from([1, 2, 16, 64])


@given(st.lists(U32, max_size=200), SIZES)
def test_a_prompts_chain_is_that_of_its_blocks(tokens: list[int], size: int) -> None:
    root, hashes = root_hash(size), []
    parent = root
    for start in range(0, len(tokens) - size + 1, size):
        parent = block_hash(token_array(tokens[start : start + size]), parent)
        hashes.append(parent)
    assert chain_hashes(pack_tokens(tokens), size, root) == hashes


@given(st.lists(U32, min_size=4, max_size=40), st.data())
def test_a_hash_names_everything_before_it(tokens: list[int], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(tokens) - 1))
    other = [*tokens[:at], tokens[at] ^ 1, *tokens[at + 1 :]]
    root = root_hash(2)
    mine, theirs = (
        chain_hashes(pack_tokens(tokens), 2, root),
        chain_hashes(pack_tokens(other), 2, root),
    )
    assert mine[: at // 2] == theirs[: at // 2]
    assert all(a != b for a, b in zip(mine[at // 2 :], theirs[at // 2 :], strict=True))


def test_roots_differ_by_all_that_keeps_caches_apart() -> None:
    roots = [
        root_hash(16),
        root_hash(64),
        root_hash(16, lora_name="a"),
        root_hash(16, cache_salt="a"),
        root_hash(16, lora_name="a", cache_salt="bc"),
        root_hash(16, lora_name="ab", cache_salt="c"),
    ]
    assert len(set(roots)) == len(roots)


def test_golden_hashes_do_not_move() -> None:
    """A frontend and a worker of different releases agree, or bump the version in root_hash."""
    root = root_hash(4, lora_name="adapter", cache_salt="tenant")
    assert root == 0x794BB4C1AD85B8BB
    assert chain_hashes(pack_tokens(range(8)), 4, root) == [0x701A104C38CBCB3F, 0xE0E81C776092C57E]


def test_image_positions_are_hashed_as_u64() -> None:
    wide = token_array([1, 2**62, 3, 4])
    assert wide.typecode == "Q"
    assert block_hash(wide, 0) != block_hash(token_array([1, 0, 3, 4]), 0)
    # A block is one kind or the other, whichever of its pages holds the image.
    assert joined(array("I", [1]), array("Q", [2**62])) == joined(
        array("Q", [1]), array("Q", [2**62])
    )


@pytest.mark.parametrize("wrong", [[-1], [2**64]])
def test_what_is_no_token_is_refused(wrong: list[int]) -> None:
    with pytest.raises(OverflowError):
        token_array(wrong)
