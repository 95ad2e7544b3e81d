"""The dictionaries that go to SGLang and come from it. Needs no SGLang."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidRequest
from protocol.generation import CachedBelow, Finished, Sampling
from protocol.replies import Failed
from protocol.tokens import pack_tokens
from workers.sglang.translation import input_ids, outcome, sampling_params


@given(st.lists(st.integers(0, 999), min_size=1))
def test_prompt_ids_arrive_as_they_were_packed(ids):
    assert list(input_ids(pack_tokens(ids), 1000)) == ids


@pytest.mark.parametrize(
    "packed", [b"", b"\x01\x00\x00", pack_tokens([1, 1000]), pack_tokens([2**32 - 1])]
)
def test_a_prompt_that_would_end_the_scheduler_is_refused(packed):
    with pytest.raises(InvalidRequest):
        input_ids(packed, 1000)


def test_every_parameter_is_named_so_that_no_default_of_sglang_applies():
    params = sampling_params(Sampling(max_new_tokens=7), None, 1000)
    assert params["max_new_tokens"] == 7
    assert params["temperature"] == 1.0
    assert {"stop_token_ids", "sampling_seed", "logit_bias"}.isdisjoint(params)


@given(st.integers(-(2**63), 2**64 - 1))
def test_any_seed_becomes_one_that_sglang_takes(seed):
    assert (
        0
        <= sampling_params(Sampling(max_new_tokens=1, seed=seed), None, 10)["sampling_seed"]
        < 2**63
    )


def _outcome(**reason):
    return outcome(
        {"finish_reason": reason, "prompt_tokens": 5, "cached_tokens": 2},
        prompt_tokens=5,
        completion_tokens=3,
    )


def test_reasons_become_the_ends_that_a_frontend_knows():
    assert _outcome(type="stop", matched=7) == Finished("stop", 5, 3, 2, 7)
    assert _outcome(type="stop", matched="text") == Finished("stop", 5, 3, 2, matched_stop="text")
    assert _outcome(type="length", length=3) == Finished("length", 5, 3, 2)
    assert _outcome(type="abort", message="Abort in waiting queue") == Finished("abort", 5, 3, 2)


@pytest.mark.parametrize(
    ("details", "below"),
    [
        (None, None),
        ({"device": 2, "host": 0}, None),
        ({"device": 1, "host": 1}, CachedBelow(1)),
        (
            {"device": 2, "host": 0, "storage": 0, "storage_backend": "HiCacheFile"},
            CachedBelow(0, 0, "HiCacheFile"),
        ),
    ],
)
def test_of_cached_tokens_it_is_told_which_were_not_in_the_devices_memory(details, below):
    ended = {"finish_reason": {"type": "length"}, "cached_tokens": 2}
    told = outcome(ended | {"cached_tokens_details": details}, prompt_tokens=5, completion_tokens=3)
    assert told == Finished("length", 5, 3, 2, cached_below=below)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "invalid_value"),
        (503, "overloaded"),
        (504, "deadline_exceeded"),
        (500, "engine_fault"),
    ],
)
def test_an_abort_with_a_status_is_a_failure(status, code):
    failed = _outcome(type="abort", message="m" * 5000, status_code=status)
    assert isinstance(failed, Failed)
    assert (failed.code, len(failed.message)) == (code, 2000)
