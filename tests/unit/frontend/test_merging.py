"""Snapshots of several processes as one."""

import pytest
from msgspec.structs import replace

from frontend.status.merging import merged
from tests.kit.status_samples import ERROR, MODEL, POINT, RANK, SNAPSHOT, WORKER


def test_alone_it_is_what_it_was() -> None:
    assert merged(SNAPSHOT, []) is SNAPSHOT


def test_what_each_has_a_part_of_adds_up_and_what_all_know_does_not() -> None:
    later = replace(ERROR, count=3, first_unix_s=40.0, last_unix_s=70.0, request_id="b")
    other = replace(SNAPSHOT, frontend_id="h-2", errors=[later], reasons=["it drains"])
    whole = merged(SNAPSHOT, [other])
    assert whole.frontend_id == "h-1"
    assert whole.reasons == ["it drains"]
    assert whole.models == [replace(MODEL, waiting=2, tokens_per_s=20.0)]
    assert whole.workers == [replace(WORKER, ranks=[replace(RANK, booked=4)])]
    assert whole.errors == [replace(later, count=5)]


def test_points_near_in_time_add_up() -> None:
    own = [replace(POINT, at_unix_s=100.0 + index) for index in range(3)]
    theirs = [
        replace(POINT, at_unix_s=101.4, tokens=30.0, ttft_ms=None, inter_token_ms=8.0, running=5),
        replace(POINT, at_unix_s=110.0),
    ]
    first, second, third = merged(
        replace(SNAPSHOT, history=own), [replace(SNAPSHOT, history=theirs)]
    ).history
    assert first.tokens == second.tokens == third.tokens == 40.0
    assert (second.requests, second.failed, second.running, second.waiting) == (2.0, 1.0, 7, 2)
    assert second.ttft_ms == 20.0
    assert second.inter_token_ms == pytest.approx(7.0)
    assert (second.kv_share, second.hit_rate) == (0.25, 0.5)


def test_what_a_sibling_did_long_ago_is_not_now() -> None:
    theirs = [replace(POINT, at_unix_s=90.0)]
    assert merged(SNAPSHOT, [replace(SNAPSHOT, history=theirs)]).history == [POINT]
