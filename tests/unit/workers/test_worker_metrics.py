"""What a worker counts of its requests and tells of its ranks, as Prometheus reads it."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from protocol.embedding import Embedded
from protocol.generation import Finished, Generate, Sampling
from protocol.membership import Capacity, RankLoad
from protocol.replies import Delta, Failed
from tests.unit.workers.board_samples import RANK, SERVING
from workers.mesh.intake import Intake
from workers.observe.hit_rate import LATEST_REQUESTS, HitRate
from workers.observe.served import Served
from workers.system.board import Board
from workers.system.exposition import exposition, own_metrics

SERVED = Served(
    model='a "model"\\1',
    endpoint="dyn://ns.backend.generate",
    capacity=Capacity(2, 16, 1_600, 8, requests_queued_max=5),
    loaded_s=12.5,
    embeds=False,
    stage="whole",
)
LABELS = {
    "dynamo_namespace": "ns",
    "dynamo_component": "backend",
    "dynamo_endpoint": "generate",
    "worker_id": "w-1",
    "model": 'a "model"\\1',
}
TOKEN = b"\1\0\0\0"


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class _Frontend:
    requests = 0

    def __init__(self) -> None:
        self.told: list[Delta] = []

    def send_deltas(self, deltas: Iterable[Delta]) -> None:
        self.told += deltas


class _Engine:
    def submit(self, request: Any) -> None: ...

    def abort(self, request_id: str) -> None: ...


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    board = Board("w-1", clock)
    board.open(SERVED, None)
    return board


@pytest.fixture
def intake(board: Board) -> Intake:
    intake = Intake(
        _Engine(),
        unix_ms=lambda: 0.0,
        on_idle=lambda: None,
        offers=lambda _: False,
        counts=board.counts,
    )
    intake.credit_requests = 2
    return intake


def _generate(request_id: str, rank: int = 0) -> Generate:
    return Generate(request_id, "model", TOKEN, Sampling(8), 1, routed_dp_rank=rank)


def _read(board: Board) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(own_metrics(board))
        for sample in family.samples
    }


def _value(board: Board, name: str, **labels: str) -> float | None:
    """The one sample with this name and exactly these labels."""
    return _read(board).get((name, frozenset(labels.items())))


def test_requests_are_counted_as_they_come_and_end(
    board: Board, intake: Intake, clock: Clock
) -> None:
    frontend = _Frontend()
    intake.take(frontend, _generate("a" * 32))
    intake.take(frontend, _generate("b" * 32, rank=1))
    intake.take(frontend, _generate("c" * 32))  # more than was granted
    clock.now += 0.2
    intake.deliver([Delta("a" * 32, 0, TOKEN), Delta("b" * 32, 0, TOKEN)])
    clock.now += 1
    intake.deliver([Delta("a" * 32, 1, TOKEN), Delta("b" * 32, 1, TOKEN)])
    assert _value(board, "dynamo_component_inflight_requests", **LABELS) == 2
    intake.deliver(
        [
            Delta("a" * 32, 2, TOKEN, Finished("stop", 100, 3, 40)),
            Delta("b" * 32, 2, b"", Failed("engine_fault", "broken")),
        ]
    )
    first, whole = (
        "dynamo_work_handler_time_to_first_response_seconds",
        ("dynamo_component_request_duration_seconds"),
    )
    for name, value in (
        ("dynamo_component_requests_total", 2),
        ("dynamo_component_inflight_requests", 0),
        ("dynamo_work_handler_enqueue_rejected_total", 1),
        ("kvmesh_worker_completion_tokens_total", 3),
        (f"{first}_count", 2),
        (f"{first}_sum", pytest.approx(0.4)),
        (f"{whole}_count", 2),
        (f"{whole}_sum", pytest.approx(2.4)),
    ):
        assert _value(board, name, **LABELS) == value, name
    assert _value(board, f"{first}_bucket", **LABELS, le="0.25") == 2
    assert _value(board, f"{first}_bucket", **LABELS, le="0.1") == 0
    assert _value(board, f"{whole}_bucket", **LABELS, le="+Inf") == 2
    for name, label, value in (
        ("dynamo_component_errors_total", {"error_type": "generate"}, 1),
        ("kvmesh_worker_requests_failed_total", {"code": "engine_fault"}, 1),
        ("kvmesh_worker_requests_refused_total", {"code": "overloaded"}, 1),
    ):
        assert _value(board, name, **LABELS, **label) == value, name
    cached = "dynamo_component_kv_cache_hit_rate"
    component = {"model": SERVED.model, "dynamo_component": "backend"}
    assert _value(board, cached, **component, dp_rank="0") == 0.4
    assert _value(board, cached, **component, dp_rank="1") is None
    assert _value(board, "kvmesh_worker_cached_tokens_total", worker_id="w-1", dp_rank="0") == 40


def test_who_aborts_or_is_lost_cancels_once(board: Board, intake: Intake) -> None:
    frontend = _Frontend()
    intake.take(frontend, _generate("a" * 32))
    intake.take(frontend, _generate("b" * 32))
    intake.abort(frontend, "a" * 32)
    intake.abort(frontend, "a" * 32)
    intake.abort_all_of(frontend)
    assert _value(board, "dynamo_component_cancellation_total", **LABELS) == 2
    assert _value(board, "dynamo_component_inflight_requests", **LABELS) == 0
    intake.deliver([Delta("a" * 32, 0, b"", Finished("abort", 1, 0))])
    assert _value(board, "dynamo_component_request_duration_seconds_count", **LABELS) == 2


def test_an_error_of_no_known_code_makes_no_series_of_its_own(board: Board) -> None:
    for number in range(50):
        board.counts.note_refused(Failed(f"made_up_{number}", ""))
    assert board.counts.refused["engine_fault"] == 50
    assert not [code for code in board.counts.refused if code.startswith("made_up")]


def test_vectors_are_counted_by_the_step(board: Board, intake: Intake) -> None:
    board.open(replace(SERVED, embeds=True), None)
    frontend = _Frontend()
    intake.take(frontend, _generate("a" * 32))
    intake.take(frontend, _generate("b" * 32))
    intake.deliver(
        [
            Delta("a" * 32, 0, b"", Embedded(b"", 10)),
            Delta("b" * 32, 0, b"", Embedded(b"", 20)),
        ]
    )
    labels = {"model": SERVED.model}
    assert _value(board, "dynamo_embedding_batch_size_count", **labels) == 1
    assert _value(board, "dynamo_embedding_batch_size_sum", **labels) == 2
    assert _value(board, "dynamo_embedding_input_tokens_sum", **labels) == 30


def test_a_hit_rate_is_that_of_the_latest_requests() -> None:
    rate = HitRate()
    assert rate.share is None
    rate.note(100, 0)
    assert rate.share == 0
    for _ in range(LATEST_REQUESTS):
        rate.note(10, 5)
    assert rate.share == 0.5
    assert (rate.prompt_tokens, rate.cached_tokens) == (
        100 + 10 * LATEST_REQUESTS,
        5 * LATEST_REQUESTS,
    )


def test_capacity_and_load_are_told_of_each_rank(board: Board, clock: Clock) -> None:
    loads = [RankLoad(0, 3, 1, 400), RankLoad(1, 2, 0, 1_700)]
    board.show(replace(SERVING, loads=loads))
    component = {"model": SERVED.model, "dynamo_component": "backend"}
    assert _value(board, "dynamo_component_model_load_time_seconds", **component) == 12.5
    for rank, usage in (("0", 0.25), ("1", 1.0)):
        labels = {**component, "dp_rank": rank}
        assert _value(board, "dynamo_component_total_blocks", **labels) == 100
        assert _value(board, "dynamo_component_gpu_cache_usage_percent", **labels) == usage
    for name, value in (
        ("pool_active_tasks", 5),
        ("pool_capacity", 16),
        ("queue_depth", 1),
        ("queue_capacity", 10),
    ):
        assert _value(board, f"dynamo_work_handler_{name}", **LABELS) == value
    rank = {"worker_id": "w-1", "dp_rank": "1"}
    assert _value(board, "kvmesh_worker_rank_kv_tokens_used", **rank) == 1_700
    board.show(replace(SERVING, phase="leaving"))  # the engine, and its ranks, are gone
    assert not [key for key in _read(board) if key[0].startswith("kvmesh_worker_rank_")]


def test_state_and_health_are_told(board: Board, clock: Clock) -> None:
    unheard = replace(RANK, silence_s=None, latency_s_last=None)
    board.show(replace(SERVING, ranks=(RANK, unheard), requests_running=2))
    clock.now += 2
    assert _value(board, "dynamo_component_uptime_seconds", **LABELS) == 2
    worker = {"worker_id": "w-1"}
    assert _value(board, "kvmesh_worker_requests_running", **worker) == 2
    assert _value(board, "kvmesh_worker_ready", **worker) == 1
    first, second = {**worker, "dp_rank": "0"}, {**worker, "dp_rank": "1"}
    assert _value(board, "kvmesh_worker_canaries_total", **first, result="ok") == 7
    assert _value(board, "kvmesh_worker_canaries_total", **second, result="timeout") == 1
    assert _value(board, "kvmesh_worker_canary_latency_seconds_sum", **first) == 2.0
    assert _value(board, "kvmesh_worker_canary_latency_seconds_count", **first) == 7
    assert _value(board, "kvmesh_worker_engine_silence_seconds", **first) == 1.5
    assert _value(board, "kvmesh_worker_engine_silence_seconds", **second) is None


def test_while_the_engine_loads_there_is_nothing_of_it(clock: Clock) -> None:
    board = Board("w-1", clock)
    names = {name for name, _ in _read(board)}
    assert "dynamo_component_uptime_seconds" in names
    assert "kvmesh_worker_ready" in names
    assert not [name for name in names if "requests_total" in name or "blocks" in name]


def test_what_the_engine_counts_follows_and_its_failure_is_the_end_of_nothing(
    board: Board,
) -> None:
    board.open(SERVED, lambda labels: f"sglang:x {labels['worker_id']}\n".encode())
    assert exposition(board).endswith(b"\nsglang:x w-1\n")

    def gone(_: object) -> bytes:
        raise FileNotFoundError

    board.open(SERVED, gone)
    assert b"dynamo_component_uptime_seconds" in exposition(board)
