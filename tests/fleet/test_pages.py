"""What is not a hot path: the OpenAPI page, metrics and health."""

import urllib.request

import openai
import pytest

from starter.pages import http_metric
from tests.kit.fleet import Fleet


def _text(fleet: Fleet, path: str) -> str:
    with urllib.request.urlopen(fleet.url + path, timeout=10) as answer:
        return answer.read().decode()


def test_the_openapi_page_shows_the_hot_paths_with_their_fields(shared: Fleet) -> None:
    assert "swagger" in _text(shared, "/docs").lower()
    _, document = shared.get("/openapi.json")
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models"} <= set(document["paths"])
    reference = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"][
        "application/json"
    ]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert schema["properties"]["max_tokens"]
    assert schema["required"] == ["model", "messages"]


def test_metrics_count_requests_by_outcome(shared: Fleet, client: openai.OpenAI) -> None:
    def count(outcome: str) -> float:
        return http_metric(
            shared.url, "dynamo_frontend_requests_total", endpoint="completions", status=outcome
        )

    before = count("success")
    client.completions.create(model="demo", prompt="hi", max_tokens=1)
    assert count("success") == before + 1


def test_health_live_and_ready_are_distinct_and_true(shared: Fleet, client: openai.OpenAI) -> None:
    assert client.models.list()
    assert shared.get("/live") == (200, {"status": "live"})
    assert shared.get("/ready") == (200, {"status": "ready", "models": ["demo"]})
    status, health = shared.get("/health")
    assert (status, health["status"], health["reasons"], len(health["workers"])) == (
        200,
        "healthy",
        [],
        2,
    )


def test_pages_move_where_the_environment_says_and_a_frontend_without_workers_is_unhealthy(
    fleet: Fleet,
) -> None:
    frontend = fleet.start(
        *("frontend", "--http-port", str(fleet.http_port), "--mesh-bind", fleet.mesh),
        env={"DYN_HTTP_SVC_HEALTH_PATH": "/svc/health", "DYN_HTTP_SVC_LIVE_PATH": "/svc/live"},
    )
    fleet.wait_until(lambda: fleet.get("/svc/live")[0] == 200, "it is up")
    reasons = ["no worker is connected"]
    assert fleet.get("/svc/health") == (
        503,
        {"status": "unhealthy", "reasons": reasons, "workers": [], "loading": []},
    )
    assert fleet.get("/ready") == (503, {"status": "not ready", "reasons": reasons})
    assert (fleet.get("/health")[0], fleet.get("/live")[0]) == (404, 404)
    assert frontend.stop() == 0


def test_requests_that_are_turned_away_are_counted_by_reason(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "it is up")
    with fleet.client() as client, pytest.raises(openai.InternalServerError):
        client.completions.create(model="demo", prompt="hi", max_tokens=1)
    lines = _text(fleet, "/metrics").splitlines()
    assert (
        'kvmesh_frontend_rejections_total{endpoint="completions",reason="no_worker"} 1.0' in lines
    )
    assert 'dynamo_frontend_model_rejection_total{endpoint="completions",model=""} 1.0' in lines
