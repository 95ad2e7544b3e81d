"""What is not a hot path: the OpenAPI page, metrics and health."""

import urllib.request

import openai

from tests.fleet.processes import Fleet


def _text(fleet: Fleet, path: str) -> str:
    with urllib.request.urlopen(fleet.url + path, timeout=10) as answer:
        return answer.read().decode()


def test_the_openapi_page_shows_the_hot_paths_with_their_fields(shared: Fleet) -> None:
    assert "swagger" in _text(shared, "/docs").lower()
    _, document = shared.get("/openapi.json")
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models"} <= set(document["paths"])
    reference = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    assert schema["properties"]["max_tokens"]
    assert schema["required"] == ["model", "messages"]


def test_metrics_count_requests_by_outcome(shared: Fleet, client: openai.OpenAI) -> None:
    def count(outcome: str) -> float:
        start = f'dynamo_frontend_requests_total{{endpoint="/v1/completions",error_type="",status="{outcome}"'
        return sum(float(line.split()[-1]) for line in _text(shared, "/metrics").splitlines() if line.startswith(start))

    before = count("success")
    client.completions.create(model="demo", prompt="hi", max_tokens=1)
    assert count("success") == before + 1


def test_health_live_and_ready_are_distinct_and_true(shared: Fleet, client: openai.OpenAI) -> None:
    assert client.models.list()
    assert shared.get("/live") == (200, {"status": "live"})
    assert shared.get("/ready") == (200, {"status": "ready", "models": ["demo"]})
    status, health = shared.get("/health")
    assert (status, health["status"], len(health["workers"])) == (200, "healthy", 2)
