"""Sums of requests: no label that a client made up, counters that never go down."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from frontend.observe.recent_requests import ERRORS_MAX, FINISHED_MAX, RecentRequests
from frontend.observe.request_families import RequestFamilies
from frontend.observe.request_metrics import MODELS_MAX, OpenRequest, RequestMetrics
from frontend.observe.request_record import RequestRecord
from frontend.observe.request_tally import HistogramBounds


def record(**changed: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "request_id": "id",
        "mesh_id": "0" * 32,
        "endpoint": "chat_completions",
        "path": "/v1/chat/completions",
        "runs_model": True,
        "model": "demo",
        "streams": True,
        "traceparent": None,
        "came_unix_s": 1.0,
        "took_s": 0.5,
        "status": 200,
        "error": "",
        "message": "",
    }
    return RequestRecord(**(fields | changed))


def open_request(tokens: int, model: str = "demo") -> OpenRequest:
    return OpenRequest(
        endpoint="chat_completions",
        model=model,
        streams=True,
        begun=tokens > 0,
        output_tokens=tokens,
        at=("decode" if tokens else "prefill", "aggregated"),
    )


def shown(families: RequestFamilies) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(families)
    lines = generate_latest(registry).decode().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in pairs}


def test_open_requests_count_as_begun_and_their_tokens_as_generated() -> None:
    requests = RequestMetrics(HistogramBounds())
    families = RequestFamilies(requests, "p")
    requests.note(record(output_tokens=5, prompt_tokens=3))
    requests.open = lambda: [open_request(7), open_request(0), open_request(0, model="")]
    told = shown(families)
    labels = '{endpoint="chat_completions",model="demo",request_type="stream"}'
    assert told[f"p_requests_started_total{labels}"] == 3
    assert told['p_output_tokens_total{model="demo"}'] == 12
    assert told['p_inflight_requests{model="demo"}'] == 2
    assert told['p_stage_requests{phase="aggregated",stage="prefill"}'] == 2
    assert told['p_stage_requests{phase="",stage="route"}'] == 0
    assert told['p_queued_requests{model="demo"}'] == 1
    assert told['p_inflight_requests{model=""}'] == 1
    assert requests.totals().output_tokens == 12


def test_counters_do_not_go_down_when_a_request_loses_tokens() -> None:
    requests = RequestMetrics(HistogramBounds())
    families = RequestFamilies(requests, "p")
    requests.open = lambda: [open_request(7)]
    assert shown(families)['p_output_tokens_total{model="demo"}'] == 7
    requests.open = list
    requests.note(record(error="client_gone", status=499))
    told = shown(families)
    assert told['p_output_tokens_total{model="demo"}'] == 7
    assert told["p_disconnected_clients"] == 1


def test_models_without_end_are_counted_without_a_name() -> None:
    requests = RequestMetrics(HistogramBounds())
    for number in range(MODELS_MAX + 3):
        requests.note(record(model=f"m{number}"))
    assert len(requests.tallies) == MODELS_MAX
    assert requests.ended["", "chat_completions", True, ""] == 3
    assert requests.totals().ended == MODELS_MAX + 3


def test_the_last_requests_are_kept_and_failures_longer() -> None:
    recent, heard = RecentRequests(), list[RequestRecord]()
    recent.listeners.append(heard.append)
    recent.note(record(request_id="bad", error="engine_fault", status=500))
    recent.note(record(error="client_gone", status=499))
    for number in range(FINISHED_MAX):
        recent.note(record(request_id=str(number), mesh_id=f"{number:032x}"))
    assert len(recent.finished) == FINISHED_MAX <= len(heard)
    assert [each.request_id for each in recent.errors] == ["bad"]
    assert recent.find("bad") is None
    assert recent.find(f"{7:032x}") is recent.find("7")
    for _ in range(ERRORS_MAX + 1):
        recent.note(record(error="engine_fault", status=500))
    assert len(recent.errors) == ERRORS_MAX
