"""Snapshots of several processes as one."""

import pytest
from msgspec.structs import replace

from frontend.status.merging import merged
from frontend.status.snapshot import ErrorStatus, ModelStatus, Point, RankStatus, Snapshot
from frontend.status.snapshot import WorkerStatus as Worker

POINT = Point(
    at_unix_s=100.0,
    requests=1.0,
    failed=0.5,
    tokens=10.0,
    ttft_ms=20.0,
    ttft_ms_max=30.0,
    inter_token_ms=4.0,
    running=2,
    waiting=1,
    kv_share=0.25,
    hit_rate=0.5,
)
RANK = RankStatus(
    dp_rank=0,
    running=5,
    waiting=0,
    booked=2,
    running_max=8,
    kv_tokens=10,
    kv_tokens_max=100,
    cached_blocks=3,
    hit_rate=0.5,
)
WORKER = Worker(
    worker_id="w0",
    model="demo",
    engine="sim",
    service="text",
    stage="whole",
    state="ready",
    why="",
    loading_s=None,
    heard_s=0.1,
    kv_events="current",
    adapters=0,
    ranks=[RANK],
)
MODEL = ModelStatus(
    name="demo",
    aliases=[],
    adapters=[],
    service="text",
    does="",
    endpoints=[],
    sees=False,
    context_length=4_096,
    ready=True,
    missing="",
    workers=1,
    waiting=1,
    tokens_per_s=10.0,
)
ERROR = ErrorStatus(
    code="no_worker",
    status=503,
    endpoint="/v1/completions",
    model="demo",
    what="",
    count=2,
    first_unix_s=50.0,
    last_unix_s=60.0,
    request_id="a",
)
SNAPSHOT = Snapshot(
    version="0",
    frontend_id="h-1",
    at_unix_s=100.0,
    up_s=50.0,
    draining=False,
    verdict="healthy",
    reasons=[],
    models=[MODEL],
    workers=[WORKER],
    workers_left_out=0,
    departed=[],
    errors=[ERROR],
    slowest=[],
    step_s=1.0,
    history=[POINT],
)


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
