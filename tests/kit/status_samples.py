"""A snapshot of a frontend's status with one of everything, for tests to change."""

from typing import Final

from frontend.status.snapshot import (
    ErrorStatus,
    ModelStatus,
    Point,
    RankStatus,
    Snapshot,
    WorkerStatus,
)

POINT: Final = Point(
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
RANK: Final = RankStatus(
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
WORKER: Final = WorkerStatus(
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
MODEL: Final = ModelStatus(
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
ERROR: Final = ErrorStatus(
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
SNAPSHOT: Final = Snapshot(
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
