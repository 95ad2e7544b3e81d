"""Requests that are refused or stopped, and an engine that outlives all of them."""

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

REFUSED = {
    "no tokens": {"prompt": []},
    "a token outside the vocabulary": {"prompt": [384]},
    "a prompt as long as the context": {"prompt": [1] * 1024},
    "more new tokens than the context holds": {"max_new_tokens": 1024},
    "negative max_new_tokens": {"max_new_tokens": -1},
    "more min than max tokens": {"min_new_tokens": 17},
    "negative temperature": {"temperature": -1.0},
    "temperature that is no number": {"temperature": float("nan")},
    "top_p of zero": {"top_p": 0.0},
    "top_k of zero": {"top_k": 0, "temperature": 1.0},
    "min_p above one": {"min_p": 2.0},
    "a penalty out of range": {"presence_penalty": float("nan")},
    "repetition penalty of zero": {"repetition_penalty": 0.0},
    "bias of a token outside the vocabulary": {"logit_bias": {"384": 1.0}},
    "bias of no token": {"logit_bias": {"x": 1.0}},
    "infinite bias": {"logit_bias": {"1": float("inf")}},
    "a rank that is not there": {"routed_dp_rank": 7},
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_a_client_got_wrong_fails_its_request_only(engine, make_request, read, fault):
    settings = dict(REFUSED[fault])
    bad = make_request(settings.pop("prompt", [1, 2, 3]), **settings)
    good = make_request([1, 2, 3], max_new_tokens=2)
    refused, answered = engine.run(bad, good)
    too_long = fault == "a prompt as long as the context"
    expected = "context_length_exceeded" if too_long else "invalid_value"
    assert read.failure(refused).code == expected
    assert read.failure(refused).message
    assert len(read.tokens(answered)) == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 2**40},
        {"stop_token_ids": [2**31, 5], "min_new_tokens": 2},
        {"max_new_tokens": 0},
        {"logit_bias": {"1": 9e3}},
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.1e-6, 1e30])
def test_extreme_values_do_not_end_the_engine(engine, make_request, read, settings, temperature):
    [deltas] = engine.run(
        make_request([1, 2, 3], **{"temperature": temperature, "max_new_tokens": 4, **settings})
    )
    assert len(read.tokens(deltas)) <= 4


def test_a_request_id_in_use_is_refused_and_the_first_request_goes_on(engine, make_request, read):
    first = make_request([1, 2, 3], max_new_tokens=64, ignore_eos=True)
    second = make_request([4, 5, 6], request_id=first.request_id)
    engine.send(first, second)
    engine.collect(
        until=lambda: (
            sum(delta.end is not None for delta in engine.by_id.get(first.request_id, [])) == 2
        )
    )
    deltas = engine.by_id[first.request_id]
    [refusal] = [
        delta for delta in deltas if delta.end is not None and not hasattr(delta.end, "reason")
    ]
    assert "in use" in read.failure([refusal]).message
    assert len(read.tokens([delta for delta in deltas if delta is not refusal])) == 64


def test_a_request_id_can_be_used_again_after_its_end(engine, make_request, read):
    request = make_request([1, 2, 3], max_new_tokens=2)
    engine.run(request)
    del engine.by_id[request.request_id]
    [deltas] = engine.run(request)
    assert len(read.tokens(deltas)) == 2


def test_a_deadline_in_the_past_is_answered_at_once(engine, make_request, read):
    [deltas] = engine.run(make_request([1, 2, 3], deadline_unix_ms=1))
    assert read.failure(deltas).code == "deadline_exceeded"


def test_abort_before_dispatch(engine, make_request, abort, read):
    """Submit and abort in one turn: SGLang would swallow this abort, and the request would run to
    its end.
    """
    request = make_request([1, 2, 3], max_new_tokens=900, ignore_eos=True)
    engine.send(request, abort(request.request_id))
    [deltas] = engine.collect(request.request_id)
    assert read.tokens(deltas) == []
    assert (read.finish(deltas).reason, read.finish(deltas).prompt_tokens) == ("abort", 3)


@pytest.mark.parametrize("stream", [True, False])
def test_abort_in_the_middle_of_decoding(engine, make_request, abort, read, stream):
    request = make_request([1, 2, 3], max_new_tokens=1000, ignore_eos=True, stream=stream)
    other = make_request([1, 2, 3], max_new_tokens=20, ignore_eos=True)
    engine.send(request, other)
    engine.collect(other.request_id)
    engine.send(abort(request.request_id), abort(request.request_id))
    [deltas] = engine.collect(request.request_id)
    assert read.finish(deltas).reason == "abort"
    assert 15 <= len(read.tokens(deltas)) < 500
    assert read.finish(deltas).completion_tokens == len(read.tokens(deltas))


def test_abort_in_the_waiting_queue(engine, make_request, abort, read):
    # all fit: 8 at once, 4096 KV tokens
    running = [make_request([2, n], max_new_tokens=400, ignore_eos=True) for n in range(8)]
    waiting = make_request([3, 3, 3], max_new_tokens=4)
    engine.send(*running)
    engine.collect(until=lambda: all(request.request_id in engine.by_id for request in running))
    engine.send(waiting)
    engine.send(abort(waiting.request_id))
    [deltas] = engine.collect(waiting.request_id)
    assert read.tokens(deltas) == []
    assert read.finish(deltas).reason == "abort"
    assert read.finish(deltas).prompt_tokens == 3
    engine.send(*(abort(request.request_id) for request in running))
    assert all(
        read.finish(deltas).reason == "abort"
        for deltas in engine.collect(*(request.request_id for request in running))
    )


def test_abort_of_unknown_and_finished_requests_is_ignored(engine, make_request, abort, read):
    request = make_request([1, 2, 3], max_new_tokens=2)
    engine.run(request)
    engine.send(abort(request.request_id), abort("f" * 32))
    [deltas] = engine.run(make_request([1, 2, 3], max_new_tokens=2))
    assert len(read.tokens(deltas)) == 2
    assert len(engine.by_id[request.request_id]) == 2


def test_the_engine_is_idle_after_all_of_it(engine, make_request, abort):
    requests = [make_request([9, n], max_new_tokens=400, ignore_eos=True) for n in range(16)]
    engine.send(*requests)
    # Its load is written at each prefill, before the requests run, and then every 15 steps.
    engine.collect(
        until=lambda: (
            sum(len(engine.by_id.get(request.request_id, [])) >= 20 for request in requests) >= 8
        )
    )
    [busy] = engine.loads()
    assert busy.requests_running > 0
    assert busy.kv_tokens_used > 0
    engine.send(*(abort(request.request_id) for request in requests))
    engine.collect(*(request.request_id for request in requests))
    # the scheduler writes its load when it goes idle, a moment after the last output
    for _ in range(100):
        [load] = engine.loads()
        if (load.requests_running, load.requests_waiting) == (0, 0):
            break
        engine.run(make_request([1], max_new_tokens=1))
    assert (load.dp_rank, load.requests_running, load.requests_waiting) == (0, 0, 0)
