"""Deltas that are joined say what they said apart."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from protocol.generation import CachedBelow, Content, Extras, Finished, Logprobs
from protocol.replies import Delta, joined
from protocol.tokens import pack_tokens, unpack_tokens


def delta(start: int, tokens: int, *, scored: bool, said: bool, ended: bool) -> Delta:
    positions = range(start, start + tokens)
    logprobs = Logprobs(
        array("f", positions).tobytes(),
        2,
        pack_tokens([0] * 2 * tokens),
        array("f", [1.0] * 2 * tokens).tobytes(),
    )
    extras = (
        Extras([Content(str(start))] if said else [], logprobs if scored and tokens else None)
        if scored or said
        else None
    )
    return Delta(
        "r",
        start,
        pack_tokens(positions),
        Finished("stop", 1, start + tokens) if ended else None,
        extras,
    )


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6), st.booleans())
def test_nothing_is_lost_in_joining(parts: list[tuple[int, bool]], scored: bool) -> None:
    apart: list[Delta] = []
    start = 0
    for number, (tokens, said) in enumerate(parts):
        apart.append(delta(start, tokens, scored=scored, said=said, ended=number == len(parts) - 1))
        start += tokens
    whole = apart[0]
    for part in apart[1:]:
        whole = joined(whole, part)
    assert (whole.start, list(unpack_tokens(whole.token_ids)), whole.end) == (
        0,
        list(range(start)),
        apart[-1].end,
    )
    extras = whole.extras or Extras()
    assert extras.parts == [
        part for each in apart if each.extras is not None for part in each.extras.parts
    ]
    if scored and start:
        assert extras.logprobs is not None
        assert array("f", extras.logprobs.chosen).tolist() == list(range(start))
        assert len(unpack_tokens(extras.logprobs.top_ids)) == 2 * start


def test_what_was_cached_is_told_by_the_first() -> None:
    cached = Extras(cached_tokens=32, cached_below=CachedBelow(8))
    first = Delta("r", 0, pack_tokens([1]), None, cached)
    assert joined(first, Delta("r", 1, pack_tokens([2]), None, Extras())).extras == cached
