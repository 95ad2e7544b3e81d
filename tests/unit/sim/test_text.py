import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.sim.text import TextModel, advance, sequence_state

ids = st.lists(st.integers(0, 2**32 - 1), max_size=50)


def state_of(token_ids: list[int]) -> int:
    return sequence_state(np.array(token_ids, dtype=np.uint32))


@given(ids, ids)
def test_the_state_after_a_prompt_equals_the_state_token_by_token(
    prompt: list[int], more: list[int]
) -> None:
    state = state_of(prompt)
    for token_id in more:
        state = advance(state, token_id)
    assert state == state_of(prompt + more)


def test_a_prompt_of_several_chunks_has_the_state_of_its_tokens_one_by_one() -> None:
    prompt = np.random.default_rng(1).integers(0, 2**32, 10_001, dtype=np.uint32)
    state = 1
    for token_id in prompt.tolist():
        state = advance(state, token_id)
    assert sequence_state(prompt) == state


def test_leading_zeros_and_order_change_the_state() -> None:
    assert (
        len(
            {
                state_of([]),
                state_of([0]),
                state_of([0, 0]),
                state_of([1, 2]),
                state_of([2, 1]),
                state_of([0, 1, 2]),
            }
        )
        == 6
    )


def test_nearly_equal_prompts_are_answered_differently_and_all_words_occur() -> None:
    text = TextModel(range(50))
    picks = [
        text.pick(state_of([7, 7, 7, last]), text.salt(None), may_end=False)
        for last in range(2_000)
    ]
    counts = np.bincount(picks, minlength=50)
    assert counts.min() > 10
    assert counts.max() < 90


def test_a_request_seed_and_an_engine_seed_change_the_text() -> None:
    text, other = TextModel(range(10_000)), TextModel(range(10_000), seed=1)
    states = [state_of([state]) for state in range(20)]
    plain = [text.pick(state, text.salt(None), may_end=False) for state in states]
    assert plain == [text.pick(state, text.salt(None), may_end=False) for state in states]
    assert plain != [text.pick(state, text.salt(0), may_end=False) for state in states]
    assert plain != [other.pick(state, other.salt(None), may_end=False) for state in states]


def test_texts_end_with_the_mean_that_was_asked_for_and_only_where_they_may() -> None:
    text = TextModel(range(100), eos_id=100, output_tokens_mean=20)
    picks = [text.pick(state_of([state]), 0, may_end=True) for state in range(20_000)]
    assert 800 < picks.count(100) < 1_200
    assert 100 not in [text.pick(state_of([state]), 0, may_end=False) for state in range(2_000)]


def test_a_banned_word_is_replaced_unless_every_word_is_banned() -> None:
    text = TextModel([3, 4, 5])
    for state in range(30):
        assert text.pick_except(state_of([state]), 0, {3, 5}) == 4
        assert text.pick_except(state_of([state]), 0, {3, 4, 5}) in {3, 4, 5}
