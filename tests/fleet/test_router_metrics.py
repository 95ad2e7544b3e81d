"""What /metrics says of the router, of what requests are at, and of workers for as long as they are
there.
"""

import signal
from typing import Any

import httpx
import pytest

from frontend.observe.decision_parts import EVERY
from tests.fleet.test_request_metrics import samples
from tests.kit.fleet import Fleet

WORKERS = ("leaves", "dies", "stays")


@pytest.fixture
def three(fleet: Fleet) -> Fleet:
    """A frontend with three workers at an engine's pace, which routes by KV events."""
    fleet.frontend()
    for name in WORKERS:
        fleet.worker("--served-model-name", "demo", "--sim-speedup", "1", "--worker-id", name)
    fleet.wait_for_workers(len(WORKERS))
    return fleet


def body(worker: str, **fields: Any) -> dict[str, Any]:
    return {
        "model": "demo",
        "prompt": list(range(100, 180)),
        "max_tokens": 4,
        "nvext": {"backend_instance_id": worker},
    } | fields


def ask(fleet: Fleet, worker: str, **fields: Any) -> None:
    url = f"{fleet.url}/v1/completions"
    httpx.post(url, json=body(worker, **fields), timeout=30).raise_for_status()


def named(fleet: Fleet, worker: str) -> set[str]:
    """The series in which a worker is named."""
    return {name for name, labels in samples(fleet) if ("worker_id", worker) in labels}


def test_a_workers_series_go_away_with_it(three: Fleet) -> None:
    for name in WORKERS:
        ask(three, name, stream=True)
    here = [named(three, name) for name in WORKERS]
    assert here[0] == here[1] == here[2]
    assert here[0] >= {
        "dynamo_component_router_requests_total",
        "dynamo_component_router_kv_hit_rate_bucket",
        "dynamo_component_router_worker_registered",
        "dynamo_frontend_worker_active_decode_blocks",
        "dynamo_frontend_worker_last_time_to_first_token_seconds",
        "kvmesh_router_rank_requests",
        "kvmesh_kv_rank_current",
    }
    assert three.processes[1].stop() == 0
    three.processes[2].popen.send_signal(signal.SIGKILL)
    three.wait_for_workers(1)
    for name in ("leaves", "dies"):
        three.wait_until(lambda name=name: not named(three, name), "nothing is told of it")
    assert named(three, "stays") == here[2]


def test_what_open_requests_are_at_is_told(three: Fleet) -> None:
    def at(stage: str, phase: str) -> float:
        labels = frozenset({("stage", stage), ("phase", phase)})
        return samples(three)["dynamo_frontend_stage_requests", labels]

    url = f"{three.url}/v1/completions"
    with httpx.stream(
        "POST", url, json=body("stays", max_tokens=2_000, stream=True), timeout=30
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        three.wait_until(lambda: at("decode", "aggregated") == 1, "it is generated")
        assert [at("preprocess", ""), at("route", ""), at("prefill", "aggregated")] == [0, 0, 0]
    three.wait_until(lambda: at("decode", "aggregated") == 0, "it has ended")


def test_the_parts_of_a_choice_are_told_of_some_of_them(three: Fleet) -> None:
    for _ in range(EVERY):
        ask(three, "stays", max_tokens=1)
    told = {name: value for (name, _), value in samples(three).items()}
    parts = ("block_hashing", "indexer_find_matches", "scheduling")
    for part in parts:
        assert told[f"dynamo_router_overhead_{part}_ms_count"] == 1, part
        assert told[f"dynamo_router_overhead_{part}_ms_sum"] >= 0, part
    assert told["dynamo_router_overhead_block_hashing_ms_sum"] > 0
    assert told["dynamo_router_overhead_total_ms_count"] == EVERY
