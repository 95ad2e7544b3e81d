from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.generation import Finished
from protocol.replies import Failed
from protocol.tokens import pack_tokens, unpack_tokens

Requests = Callable[..., Any]
Benches = Callable[..., Any]


def name(number: int) -> str:
    return f"{number:032x}"


prompts = st.one_of(
    st.integers(1, 60).map(lambda n: list(range(n))),  # prefixes of one another
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
)
arrivals = st.lists(
    st.tuples(
        prompts,
        st.integers(0, 40),
        st.booleans(),
        st.integers(0, 6),
        st.one_of(st.none(), st.integers(0, 60)),
    ),
    min_size=1,
    max_size=14,
)


@pytest.mark.parametrize("policy", ["fcfs", "lpm"])
@pytest.mark.parametrize("prefix_cache", [True, False])
@settings(max_examples=60, deadline=None)
@given(
    arriving=arrivals,
    pages=st.integers(26, 48),
    chunk=st.sampled_from([4, 10, 64]),
    running=st.integers(1, 8),
)
def test_every_request_ends_once_and_the_kv_pool_is_never_exceeded(
    bench: Benches,
    request_for: Requests,
    policy: str,
    prefix_cache: bool,
    arriving: list[Any],
    pages: int,
    chunk: int,
    running: int,
) -> None:
    limits = {
        "policy": policy,
        "prefix_cache": prefix_cache,
        "chunk_tokens": chunk,
        "requests_running_max": running,
    }
    b = bench(page=4, pages=pages, conservativeness=0.0, output_tokens_mean=30.0, **limits)
    pool = b.scheduler._pool
    waiting, aborts, step = list(enumerate(arriving)), [], 0
    while waiting or b.scheduler.busy:
        while waiting and waiting[0][1][3] <= step % 7:
            number, (prompt, max_new, stream, _, abort_after) = waiting.pop(0)
            b.submit(request_for(number, prompt, max_new, stream=stream))
            if abort_after is not None:
                aborts.append((step + abort_after, number))
        b.step()
        for at, number in aborts:
            if at == step:
                b.abort(name(number))
        step += 1
        assert 0 <= pool.request_pages + b.cache.page_count <= pages
        assert b.scheduler.load().requests_running <= running
        assert step < 20_000
    assert set(b.answers.ends) == {name(number) for number in range(len(arriving))}
    for number, (prompt, max_new, *_) in enumerate(arriving):
        end, tokens = b.answers.ends[name(number)], b.answers.tokens[name(number)]
        assert isinstance(end, Finished)
        assert (end.prompt_tokens, end.completion_tokens) == (len(prompt), len(tokens))
        assert len(tokens) <= max_new
        assert end.cached_tokens < len(prompt)
        assert end.reason != "length" or len(tokens) == max_new
    # Nothing leaks: an idle rank uses no page but the cache's.
    load = b.scheduler.load()
    assert (
        load.requests_running,
        load.requests_waiting,
        load.kv_tokens_used,
        load.waiting_uncached_tokens,
    ) == (0, 0, 0, 0)
    assert pool.request_pages == 0
    assert b.cache.evictable_count == b.cache.page_count


@settings(max_examples=40, deadline=None)
@given(
    prompt=prompts,
    max_new=st.integers(2, 60),
    cut=st.integers(1, 59),
    mean=st.sampled_from([0.0, 25.0]),
    seed=st.one_of(st.none(), st.integers()),
)
def test_prompt_and_output_so_far_replayed_elsewhere_continue_the_same_text(
    bench: Benches,
    request_for: Requests,
    prompt: list[int],
    max_new: int,
    cut: int,
    mean: float,
    seed: int | None,
) -> None:
    whole, rest = (
        bench(output_tokens_mean=mean),
        bench(output_tokens_mean=mean, page=8, chunk_tokens=8),
    )
    whole.submit(request_for(1, prompt, max_new, seed=seed))
    whole.run()
    tokens = whole.answers.tokens[name(1)]
    cut = min(cut, len(tokens) - 1)
    if cut < 1:
        return
    rest.submit(request_for(1, prompt + tokens[:cut], max_new - cut, seed=seed))
    rest.run()
    assert rest.answers.tokens[name(1)] == tokens[cut:]
    assert rest.answers.ends[name(1)].reason == whole.answers.ends[name(1)].reason


def test_a_chunked_prompt_is_computed_in_order_before_the_requests_behind_it(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(chunk_tokens=64, pages=128)
    b.submit(request_for(1, range(150), 2))
    b.submit(request_for(2, range(50, 60), 2))
    timing = b.scheduler._timing
    assert b.step() == []
    assert b.scheduler.load().requests_running == 1
    assert b.scheduler.load().waiting_uncached_tokens >= 86
    assert b.step() == []
    firsts = b.step()  # the last 22 tokens, and the request behind in the same batch
    assert [delta.request_id for delta in firsts] == [name(1), name(2)]
    assert b.durations_ms == [
        timing.prefill_ms(64),
        timing.prefill_ms(64),
        timing.prefill_ms(22 + 10),
    ]


def test_prefill_goes_before_decode_and_both_ranks_of_work_share_batches(
    bench: Benches, request_for: Requests
) -> None:
    b = bench()
    b.submit(request_for(1, range(10), 5))
    b.step()
    b.submit(request_for(2, range(20, 30), 5))
    assert [delta.request_id for delta in b.step()] == [name(2)]
    assert [delta.request_id for delta in b.step()] == [name(1), name(2)]


def test_no_more_than_the_running_maximum_run_and_the_rest_waits_in_order(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(requests_running_max=2)
    for number in range(5):
        b.submit(request_for(number, [number] * 5, 3))
    b.step()
    load = b.scheduler.load()
    assert (load.requests_running, load.requests_waiting) == (2, 3)
    b.run()
    assert list(b.answers.ends) == [name(number) for number in range(5)]


def test_a_full_kv_cache_retracts_the_request_with_the_least_output_and_its_text_is_the_same(
    bench: Benches, request_for: Requests
) -> None:
    def run(pages: int) -> Any:
        b = bench(pages=pages, conservativeness=0.0)
        b.submit(request_for(1, range(20), 60))
        b.step()
        b.step()
        b.submit(request_for(2, range(100, 120), 60))
        b.run()
        return b

    tight, roomy = run(26), run(200)
    assert tight.scheduler.retractions > 0
    assert roomy.scheduler.retractions == 0
    assert tight.answers.tokens == roomy.answers.tokens
    assert list(tight.answers.ends) == [name(1), name(2)]
    assert tight.answers.ends[name(2)].cached_tokens == 0


def test_cached_tokens_are_whole_pages_of_the_prompt_and_never_all_of_it(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(page=4)
    for number, prompt in enumerate([range(16), range(16), range(18), [*range(9), 99, 98]]):
        b.submit(request_for(number, prompt, 1))
        b.run()
    assert [b.answers.ends[name(number)].cached_tokens for number in range(4)] == [0, 12, 16, 8]


def test_an_answer_is_cached_for_the_next_turn_of_a_conversation(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(page=4)
    b.submit(request_for(1, range(8), 9))
    b.run()
    turn = [*range(8), *b.answers.tokens[name(1)], 7, 7, 7]
    b.submit(request_for(2, turn, 1))
    b.run()
    # of 17 known tokens the last one's KV was never computed
    assert b.answers.ends[name(2)].cached_tokens == 16


def test_without_prefix_cache_nothing_is_cached(bench: Benches, request_for: Requests) -> None:
    b = bench(prefix_cache=False)
    for number in range(2):
        b.submit(request_for(number, range(40), 3))
        b.run()
    assert b.answers.ends[name(1)].cached_tokens == 0
    assert b.cache.page_count == 0


def test_lpm_serves_the_longest_cached_prefix_first(bench: Benches, request_for: Requests) -> None:
    b = bench(policy="lpm", requests_running_max=1)
    b.submit(request_for(1, range(40), 1))
    b.run()
    b.submit(request_for(2, range(100, 140), 1))
    b.submit(request_for(3, range(40), 1))
    b.run()
    assert list(b.answers.ends) == [name(1), name(3), name(2)]


def test_a_request_that_expired_in_the_queue_is_dropped_before_prefill(
    bench: Benches, request_for: Requests
) -> None:
    b = bench()
    b.submit(request_for(1, range(10), 3, deadline_unix_ms=1_000))
    b.submit(request_for(2, range(10), 3, deadline_unix_ms=1_001))
    b.step(1_000)
    assert b.answers.ends[name(1)].code == "deadline_exceeded"
    b.run()
    assert b.answers.ends[name(2)].reason == "length"
    assert b.answers.ends[name(2)].cached_tokens == 0


def test_aborts_end_waiting_chunked_and_running_requests(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(requests_running_max=2, pages=128)
    b.submit(request_for(1, range(10), 50))
    b.step()
    b.submit(request_for(2, range(10, 160), 50))
    b.submit(request_for(3, range(10), 50))
    b.step()
    for number in (1, 2, 3, 4):
        b.abort(name(number))
    assert list(b.answers.ends) == [name(2), name(3)], "nothing of these was under way"
    b.run()
    assert {end.reason for end in b.answers.ends.values()} == {"abort"}
    assert b.answers.ends[name(1)].completion_tokens == 1
    assert b.scheduler.load().kv_tokens_used == 0


def test_stop_tokens_end_a_request_from_min_new_tokens_on_and_never_with_ignore_eos(
    bench: Benches, request_for: Requests
) -> None:
    free = bench()
    free.submit(request_for(0, range(10), 12))
    free.run()
    text = free.answers.tokens[name(0)]
    stop = text[5]
    at = text.index(stop)
    b = bench()
    b.submit(request_for(1, range(10), 12, stop_token_ids=[stop]))
    b.run()
    end = b.answers.ends[name(1)]
    assert (end.reason, end.matched_token_id, b.answers.tokens[name(1)]) == (
        "stop",
        stop,
        text[: at + 1],
    )
    b.submit(request_for(2, range(10), 12, stop_token_ids=[stop], ignore_eos=True))
    b.submit(request_for(3, range(10), 12, stop_token_ids=[stop], min_new_tokens=12))
    b.run()
    assert b.answers.tokens[name(2)] == text
    assert b.answers.ends[name(3)].reason == "length"
    assert stop not in b.answers.tokens[name(3)]


def test_a_length_distribution_ends_texts_with_eos(bench: Benches, request_for: Requests) -> None:
    b = bench(output_tokens_mean=8.0, pages=512, requests_waiting_max=1000)
    for number in range(300):
        b.submit(request_for(number, [number % 200, number // 200], 400))
    b.run()
    ends = list(b.answers.ends.values())
    assert all((end.reason, end.matched_token_id) == ("stop", 200) for end in ends)
    assert 6.5 < sum(end.completion_tokens for end in ends) / len(ends) < 9.5


def test_of_an_answer_that_nobody_reads_the_first_token_comes_at_once_and_then_fifties(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(pages=200)
    b.submit(request_for(1, range(10), 120, stream=False))
    b.run()
    assert [len(unpack_tokens(delta.token_ids)) for delta in b.answers.deltas[name(1)]] == [
        1,
        50,
        50,
        19,
    ]


def test_a_stream_interval_tells_the_first_token_at_once(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(stream_interval=8)
    b.submit(request_for(1, range(10), 20))
    b.run()
    assert [len(unpack_tokens(delta.token_ids)) for delta in b.answers.deltas[name(1)]] == [
        1,
        8,
        8,
        3,
    ]


def test_max_new_tokens_of_zero_ends_after_prefill_without_a_token(
    bench: Benches, request_for: Requests
) -> None:
    b = bench()
    b.submit(request_for(1, range(10), 0))
    b.run()
    assert b.answers.ends[name(1)] == Finished("length", 10, 0, 0)


def test_an_output_that_the_kv_cache_cannot_hold_is_cut_short(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(page=4, pages=10)
    b.submit(request_for(1, range(30), 500))
    b.run()
    assert b.answers.ends[name(1)] == Finished("length", 30, 10, 0)


@pytest.mark.parametrize(
    ("prompt", "options", "code", "param"),
    [
        ([], {}, "invalid_value", "prompt"),
        ([1, 5_000], {}, "invalid_value", "prompt"),
        (range(150), {"max_new_tokens": 100_000}, "context_length_exceeded", "max_tokens"),
        ([1] * 300, {}, "invalid_value", "prompt"),
        ([1], {"max_new_tokens": -1}, "invalid_value", "max_tokens"),
        ([1], {"min_new_tokens": 5}, "invalid_value", "min_tokens"),
        ([1], {"temperature": -0.5}, "invalid_value", "temperature"),
        ([1], {"temperature": float("nan")}, "invalid_value", "temperature"),
        ([1], {"top_p": 1.5}, "invalid_value", "top_p"),
        ([1], {"top_k": 0}, "invalid_value", "top_k"),
    ],
)
def test_a_request_that_cannot_be_run_is_refused(
    bench: Benches,
    request_for: Requests,
    prompt: Any,
    options: dict[str, Any],
    code: str,
    param: str,
) -> None:
    b = bench()
    b.submit(request_for(1, prompt, **options))
    failed = b.answers.ends[name(1)]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.param) == (code, param)
    assert not b.scheduler.busy


def test_a_prompt_of_torn_bytes_and_a_request_too_many_are_refused(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(requests_waiting_max=1)
    b.submit(msgspec.structs.replace(request_for(0), token_ids=pack_tokens([1])[:3]))
    assert b.answers.ends[name(0)].param == "prompt"
    b.submit(request_for(1))
    b.submit(request_for(2))
    assert b.answers.ends[name(2)].code == "overloaded"
    b.step()
    b.submit(request_for(3))
    assert b.scheduler.holds(name(1))
    b.run()
    assert {type(b.answers.ends[name(number)]) for number in (1, 3)} == {Finished}


def test_higher_priorities_are_prefilled_first_and_equal_ones_in_order(
    bench: Benches, request_for: Requests
) -> None:
    b = bench(pages=200, requests_running_max=1)
    asked = [(1, 0), (2, -1), (3, 5), (4, 0), (5, 5)]
    for number, priority in asked:
        b.submit(msgspec.structs.replace(request_for(number, range(10), 1), priority=priority))
    b.run()
    assert list(b.answers.deltas) == [name(number) for number in (3, 5, 1, 4, 2)]
