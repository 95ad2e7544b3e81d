"""Answers made in pieces, and gains told in portions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.http.json_slices import SLICE_BYTES, Rows, json_parts, send_in_slices
from frontend.text.output.gain import PORTION_TOKENS, Gain
from protocol.generation import Logprobs
from protocol.tokens import pack_tokens

LEAF = (
    st.none()
    | st.integers(-9, 9)
    | st.text(max_size=3)
    | st.lists(st.integers(0, 9), max_size=40).map(lambda items: ("rows", items))
)
TREE = st.recursive(
    LEAF, lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=3), max_leaves=8
)


def with_rows(tree: Any) -> Any:
    if isinstance(tree, tuple):
        return Rows(lambda: (item for item in tree[1]))
    return (
        {name: with_rows(inner) for name, inner in tree.items()} if isinstance(tree, dict) else tree
    )


def without(tree: Any) -> Any:
    if isinstance(tree, tuple):
        return tree[1]
    return (
        {name: without(inner) for name, inner in tree.items()} if isinstance(tree, dict) else tree
    )


@given(st.lists(TREE, max_size=3))
def test_parts_are_the_json_of_the_whole(trees: list[Any]) -> None:
    assert json.loads(
        b"".join(json_parts({"choices": with_rows({"a": trees[0] if trees else None})}))
    ) == {"choices": without({"a": trees[0] if trees else None})}
    listed = [{"inner": tree} for tree in trees]
    assert json.loads(b"".join(json_parts([with_rows(each) for each in listed]))) == [
        without(each) for each in listed
    ]


class Sent:
    """An exchange that keeps what it sends."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.whole: bytes | None = None

    async def send_json(self, status: int, body: bytes) -> None:
        self.whole = body

    async def send_slice(self, piece: bytes, *, more: bool = True) -> None:
        self.pieces.append(piece)
        self.ended = not more


@pytest.mark.parametrize("rows", [0, 1, 100, 100_000])
async def test_large_answers_go_in_pieces_and_small_ones_whole(rows: int) -> None:
    sent = Sent()
    await send_in_slices(sent, {"a": Rows(lambda: range(rows)), "b": 1})  # type: ignore[arg-type]
    if rows < 10_000:
        assert json.loads(sent.whole or b"") == {"a": list(range(rows)), "b": 1}
        assert not sent.pieces
    else:
        assert sent.whole is None
        assert sent.ended
        assert all(len(piece) < 2 * SLICE_BYTES for piece in sent.pieces)
        assert json.loads(b"".join(sent.pieces)) == {"a": list(range(rows)), "b": 1}


@given(st.lists(st.integers(1, 3 * PORTION_TOKENS), max_size=12), st.integers(0, 3))
def test_a_gain_in_portions_is_the_same_gain(sizes: list[int], cut: int) -> None:
    parts = [Logprobs(bytes(4 * size), top=number) for number, size in enumerate(sizes)]
    ids = pack_tokens(range(max(0, sum(sizes) - cut)))
    portions = list(Gain(text="x", token_ids=ids, logprobs=parts).portions())
    assert b"".join(portion.token_ids for portion in portions) == ids
    assert [part.top for portion in portions for part in portion.logprobs] == list(
        range(len(sizes))
    )
    assert "".join(portion.text for portion in portions) == "x"
    assert [portion.more for portion in portions] == [True] * (len(portions) - 1) + [False]
    assert all(len(portion.token_ids) <= 4 * 4 * PORTION_TOKENS for portion in portions)
