"""The engine's answers: against transformers, and what each parameter does to them."""

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

PROMPTS = [
    [11, 22, 33, 44, 55],
    list(range(40, 73)),
    [7] * 20,
    [200, 3, 150, 9, 80, 81, 82, 83],
    list(range(250, 150, -3)),
    [1],
]
NEW = 24


@pytest.fixture(scope="module")
def expected(greedy):
    return greedy(PROMPTS, NEW)


def test_greedy_output_alone_equals_transformers(engine, make_request, read, expected):
    for prompt, wanted in zip(PROMPTS, expected, strict=True):
        [deltas] = engine.run(make_request(prompt, max_new_tokens=NEW))
        assert read.tokens(deltas) == wanted


@pytest.mark.parametrize("stream", [True, False])
def test_greedy_output_together_equals_transformers(engine, make_request, read, expected, stream):
    together = engine.run(
        *(make_request(prompt, max_new_tokens=NEW, stream=stream) for prompt in PROMPTS)
    )
    assert [read.tokens(deltas) for deltas in together] == expected


def test_expected_outputs_differ_from_each_other(expected):
    """Else the two tests above would prove nothing."""
    assert len({tuple(output) for output in expected}) == len(PROMPTS)
    assert all(len(set(output)) > 2 for output in expected)


def test_a_stream_is_one_delta_a_step_and_a_step_is_one_delivery_for_all(
    engine, make_request, read
):
    requests = [make_request([5, 6, 7, n], max_new_tokens=32, ignore_eos=True) for n in range(16)]
    engine.steps.clear()
    answers = engine.run(*requests)
    assert [len(read.tokens(deltas)) for deltas in answers] == [32] * 16
    assert max(len(step) for step in engine.steps) >= 8
    assert sum(len(step) for step in engine.steps) > 3 * len(engine.steps)
    assert all(len({delta.request_id for delta in step}) == len(step) for step in engine.steps)


def test_of_an_answer_that_nobody_reads_the_first_token_comes_at_once_and_then_fifties(
    engine, make_request, read
):
    [deltas] = engine.run(
        make_request([5, 6, 7], max_new_tokens=120, ignore_eos=True, stream=False)
    )
    assert [len(delta.token_ids) // 4 for delta in deltas] == [1, 50, 50, 19]
    assert len(read.tokens(deltas)) == 120


def test_what_waits_in_the_engine_is_in_the_order_of_priorities_and_nothing_is_taken_back(
    engine, make_request, read
):
    """All places but one are taken for long, so the others go through that one after each other."""
    crowd = [
        make_request([50, n], max_new_tokens=400 if n else 8, ignore_eos=True) for n in range(8)
    ]
    requests = [
        make_request([60, n], max_new_tokens=4, ignore_eos=True, priority=priority)
        for n, priority in enumerate((0, 0, -5, 7, 0))
    ]
    engine.steps.clear()
    answers = engine.run(*crowd, *requests)
    assert [len(read.tokens(deltas)) for deltas in answers] == [8] + [400] * 7 + [4] * 5
    asked = {request.request_id for request in requests}
    ended = [
        delta.request_id
        for step in engine.steps
        for delta in step
        if delta.end is not None and delta.request_id in asked
    ]
    first, second, low, urgent, third = (request.request_id for request in requests)
    assert ended == [urgent, first, second, third, low]
    assert engine.facts.capacity.orders_by_priority


def test_usage_counts_prompt_completion_and_cached_tokens(engine, make_request, read):
    prompt = [(7 * n) % 251 for n in range(64)]
    engine.run(make_request(prompt, max_new_tokens=3, ignore_eos=True))
    [deltas] = engine.run(make_request(prompt, max_new_tokens=3, ignore_eos=True))
    end = read.finish(deltas)
    assert (end.reason, end.prompt_tokens, end.completion_tokens) == ("length", 64, 3)
    # whole pages of 16, less the last token, whose logits are needed
    assert end.cached_tokens == 48


def test_a_stop_token_ends_the_output_and_is_named(engine, make_request, read):
    [free] = engine.run(make_request([9, 8, 7], max_new_tokens=12, ignore_eos=True))
    stop = read.tokens(free)[6]
    first = read.tokens(free).index(stop)
    [deltas] = engine.run(
        make_request([9, 8, 7], max_new_tokens=12, stop_token_ids=[stop, 10**9], ignore_eos=False)
    )
    end = read.finish(deltas)
    assert read.tokens(deltas) == read.tokens(free)[: first + 1]
    assert (end.reason, end.matched_token_id, end.completion_tokens) == ("stop", stop, first + 1)


def test_end_of_sequence_stops_and_ignore_eos_does_not(engine, make_request, read):
    [eos] = {258} & set(engine.facts.card.eos_token_ids)
    always = {"logit_bias": {str(eos): 1000.0}, "max_new_tokens": 5}
    [stopped] = engine.run(make_request([1, 2, 3], **always))
    assert read.tokens(stopped) == [eos]
    assert (read.finish(stopped).reason, read.finish(stopped).matched_token_id) == ("stop", eos)
    [ignored] = engine.run(make_request([1, 2, 3], ignore_eos=True, **always))
    assert read.tokens(ignored) == [eos] * 5
    assert (read.finish(ignored).reason, read.finish(ignored).matched_token_id) == ("length", None)


def test_min_new_tokens_holds_back_the_end_of_sequence(engine, make_request, read):
    [deltas] = engine.run(
        make_request([1, 2, 3], logit_bias={"258": 1000.0}, min_new_tokens=4, max_new_tokens=9)
    )
    assert read.tokens(deltas)[-1] == 258
    assert 258 not in read.tokens(deltas)[:4]


def test_logit_bias_chooses_and_forbids_tokens(engine, make_request, read):
    [chosen] = engine.run(make_request([1, 2, 3], logit_bias={"77": 1000.0}, max_new_tokens=4))
    assert read.tokens(chosen) == [77] * 4
    [free] = engine.run(make_request([1, 2, 3], max_new_tokens=4))
    first = read.tokens(free)[0]
    [forbidden] = engine.run(
        make_request([1, 2, 3], max_new_tokens=4, logit_bias={str(first): -1000.0})
    )
    assert first not in read.tokens(forbidden)


def test_sampling_with_every_parameter_is_accepted(engine, make_request, read):
    sampled = make_request(
        [1, 2, 3], max_new_tokens=6, temperature=0.9, top_p=0.9, top_k=40, min_p=0.01,
        frequency_penalty=0.5, presence_penalty=0.5,
        repetition_penalty=1.1, seed=2**64 - 1, ignore_eos=True, priority=5,
    )  # fmt: skip
    [deltas] = engine.run(sampled)
    assert len(read.tokens(deltas)) == 6


def test_a_request_that_reaches_the_end_of_the_context_ends_by_length(engine, make_request, read):
    """SGLang keeps two positions of the context back."""
    [deltas] = engine.run(make_request([3] * 1000, max_new_tokens=24, ignore_eos=True))
    assert len(read.tokens(deltas)) == 22
    assert read.finish(deltas).reason == "length"
