"""What a worker's /metrics tells over HTTP of requests that clients sent through a frontend."""

import math
import urllib.request
from collections.abc import Iterator

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from starter.ports import free_port
from tests.kit.fleet import Fleet

WORKER = "worker-of-metrics"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def watched(port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend and a simulated worker of two ranks, with a system port."""
    fleet = Fleet(tmp_path_factory.mktemp("metrics"))
    fleet.frontend()
    fleet.worker(
        *("--served-model-name", "demo", "--dp-size", "2"),
        *("--worker-id", WORKER, "--system-port", str(port)),
        *("--endpoint", "dyn://ours.backend.generate"),
    )
    fleet.wait_for_workers(1)
    yield fleet
    fleet.stop()


def _samples(url: str) -> list[Sample]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return [each for family in text_string_to_metric_families(text) for each in family.samples]


def _sum(samples: list[Sample], name: str, **labels: str) -> float:
    found = [
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert found, f"{name} with {labels} is not there"
    return math.fsum(found)


def test_requests_of_clients_are_counted_under_the_names_of_the_reference_product(
    watched: Fleet, port: int
) -> None:
    labels = {
        "dynamo_namespace": "ours",
        "dynamo_component": "backend",
        "dynamo_endpoint": "generate",
        "worker_id": WORKER,
        "model": "demo",
    }
    component = {"model": "demo", "dynamo_component": "backend"}
    prompt = "the same beginning " * 40
    with watched.client() as client:
        for _ in range(4):
            answer = client.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": prompt}], max_tokens=7
            )
            assert answer.usage is not None
    pages = f"http://127.0.0.1:{port}"
    # the end of a request is counted before it is told
    samples = _samples(pages)
    for name, value in (
        ("dynamo_component_requests_total", 4),
        ("dynamo_component_inflight_requests", 0),
        ("dynamo_component_request_duration_seconds_count", 4),
        ("dynamo_work_handler_time_to_first_response_seconds_count", 4),
        ("dynamo_component_cancellation_total", 0),
        ("kvmesh_worker_completion_tokens_total", 4 * 7),
    ):
        assert _sum(samples, name, **labels) == value, name
    tokens = _sum(samples, "kvmesh_worker_prompt_tokens_total", worker_id=WORKER)
    assert tokens == 4 * answer.usage.prompt_tokens
    assert _sum(samples, "kvmesh_worker_cached_tokens_total", worker_id=WORKER) > 0
    assert _sum(samples, "dynamo_component_request_bytes_total", **labels) > 4 * 4 * 40
    assert _sum(samples, "dynamo_component_response_bytes_total", **labels) > 4 * 4 * 7
    for rank in ("0", "1"):
        blocks = _sum(samples, "dynamo_component_total_blocks", **component, dp_rank=rank)
        assert blocks > 0
        usage = "dynamo_component_gpu_cache_usage_percent"
        assert _sum(samples, usage, **component, dp_rank=rank) <= 1
    assert 0 < _sum(samples, "dynamo_component_kv_cache_hit_rate", **component) <= 2
    assert not [sample for sample in samples if sample.name.startswith("sglang:")]


def test_who_leaves_cancels(watched: Fleet, port: int) -> None:
    pages = f"http://127.0.0.1:{port}"
    body = {"model": "demo", "prompt": "x", "max_tokens": 20_000, "stream": True}

    def cancelled() -> float:
        return _sum(_samples(pages), "dynamo_component_cancellation_total")

    before = cancelled()
    with httpx.stream("POST", f"{watched.url}/v1/completions", json=body) as answer:
        next(answer.iter_lines())
    watched.wait_until(lambda: cancelled() == before + 1, "the request is cancelled")
    watched.wait_until(
        lambda: _sum(_samples(pages), "dynamo_component_inflight_requests") == 0, "none runs"
    )


def test_no_label_of_a_worker_is_what_a_client_wrote(watched: Fleet, port: int) -> None:
    written = "written-by-a-client"
    with watched.client() as client, pytest.raises(openai.NotFoundError):
        client.completions.create(model=written, prompt=written, user=written)
    with watched.client() as client:
        client.completions.create(
            model="demo",
            prompt=written,
            user=written,
            max_tokens=1,
            extra_headers={"x-request-id": written},
        )
    for url in (watched.url, f"http://127.0.0.1:{port}"):
        assert written not in httpx.get(f"{url}/metrics").text
