"""Text in blocks, as diffusion makes it: several steps without a token, then a block."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.generation import Finished
from protocol.process.start_error import StartError
from protocol.tokens import count_tokens
from workers.sim.settings import read_settings

Requests = Callable[..., Any]
Benches = Callable[..., Any]
PAGE = 4


def name(number: int) -> str:
    return f"{number:032x}"


def sizes(bench: Any, number: int) -> list[int]:
    return [count_tokens(delta.token_ids) for delta in bench.answers.deltas[name(number)]]


@pytest.mark.parametrize(
    ("prompt", "tokens", "blocks"),
    [(13, 10, [3, 4, 3]), (16, 8, [4, 4]), (2, 2, [2]), (15, 1, [1]), (3, 6, [1, 4, 1])],
)
def test_a_block_comes_whole_behind_steps_that_bring_nothing(
    bench: Benches, request_for: Requests, prompt: int, tokens: int, blocks: list[int]
) -> None:
    b = bench(block_steps=3)
    b.submit(request_for(1, range(prompt), tokens))
    told = []
    while b.scheduler.busy:
        told.append(len(b.step()))
    assert told == [0] + [0, 0, 1] * len(blocks)  # the first step computes the prompt
    assert sizes(b, 1) == blocks


def test_a_stop_token_ends_a_block(bench: Benches, request_for: Requests) -> None:
    whole, ended = bench(block_steps=2), bench(block_steps=2)
    whole.submit(request_for(1, range(8), 12))
    whole.run()
    tokens = whole.answers.tokens[name(1)]
    ended.submit(request_for(1, range(8), 12, stop_token_ids=[tokens[5]]))
    ended.run()
    assert ended.answers.tokens[name(1)] == tokens[: tokens.index(tokens[5]) + 1]
    assert ended.answers.ends[name(1)].matched_token_id == tokens[5]


def test_a_reader_who_does_not_stream_is_told_of_the_first_block_and_then_seldom(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(block_steps=1)
    b.submit(request_for(1, range(5), 120, stream=False))
    b.run()
    assert sizes(b, 1) == [3, 52, 52, 13]


@settings(max_examples=60, deadline=None)
@given(
    arriving=st.lists(
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(0, 30)),
        min_size=1,
        max_size=10,
    ),
    pages=st.integers(22, 40),
    steps=st.integers(1, 4),
)
def test_blocks_are_those_of_an_undisturbed_engine_and_nothing_leaks(
    bench: Benches, request_for: Requests, arriving: Any, pages: int, steps: int
) -> None:
    """With too few pages for all, requests that are taken back go on where they were."""
    b = bench(block_steps=steps, pages=pages, conservativeness=0.0)
    aborts: dict[int, list[int]] = {}
    for number, (prompt, tokens, abort_at) in enumerate(arriving):
        b.submit(request_for(number, range(number, number + prompt), tokens))
        if abort_at:
            aborts.setdefault(abort_at, []).append(number)
    step = 0
    while b.scheduler.busy:
        b.step()
        step += 1
        for number in aborts.get(step, ()):
            b.abort(name(number))
    for number, (prompt, tokens, abort_at) in enumerate(arriving):
        alone = bench(block_steps=1, pages=64)
        alone.submit(request_for(number, range(number, number + prompt), tokens))
        alone.run()
        end, told = b.answers.ends[name(number)], b.answers.tokens.get(name(number), [])
        assert isinstance(end, Finished)
        assert end.reason == "length" or abort_at
        wanted = alone.answers.tokens[name(number)]
        assert told == (wanted if end.reason == "length" else wanted[: len(told)])
        assert end.reason == "length" or not told or not (prompt + len(told)) % PAGE
    assert b.scheduler.load().kv_tokens_used == 0
    assert b.cache.evictable_count == b.cache.page_count


def test_settings_are_set_right_as_sglang_does_and_what_does_not_go_together_is_said() -> None:
    greedy = read_settings(["--dllm-algorithm", "LowConfidence", "--sim-dllm-block", "32"])
    assert (greedy.page_size, greedy.disable_radix_cache) == (32, False)
    assert read_settings(["--dllm-algorithm", "Gemma4Renoise"]).disable_radix_cache
    for other in (("--is-embedding",), ("--disaggregation-mode", "prefill")):
        with pytest.raises(StartError, match="--dllm-algorithm"):
            read_settings(["--dllm-algorithm", "LowConfidence", *other])
