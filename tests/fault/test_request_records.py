"""What is told of requests that waited, moved or were left: in the log by their id, in metrics."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fault.raw_http import asked, metric, rest_of
from tests.fault.streams import start_workers
from tests.kit.fleet import Fleet

TOKENS = 300
LONG = {"model": "demo", "prompt": "hi", "max_tokens": TOKENS, "stream": True}
SECRET = "nobody may read this prompt"


@pytest.fixture
def logging_json(fleet: Fleet) -> Iterator[Fleet]:
    """A frontend that logs JSON, by the reference product's variable."""
    fleet.frontend(env={"DYN_LOGGING_JSONL": "1", "KVMESH_LOG_LEVEL": "debug"})
    yield fleet
    assert SECRET not in fleet.processes[0].output()


def told_of(fleet: Fleet, request_id: str) -> dict[str, Any]:
    """The log line of a request, once it is there."""

    def lines() -> list[dict[str, Any]]:
        told = map(json.loads, fleet.processes[0].output().splitlines())
        return [line for line in told if line.get("request_id") == request_id]

    fleet.wait_until(lambda: bool(lines()), "it is logged")
    (line,) = lines()
    assert (line["level"], line["target"]) == ("INFO", "frontend.requests")
    assert "hi" not in line.values()
    return line


def test_a_moved_request_says_where_it_was_and_how_long_its_client_waited(
    logging_json: Fleet,
) -> None:
    fleet = logging_json
    workers = start_workers(fleet, 2)
    with asked(fleet, LONG, "x-request-id: moved", "connection: close") as connection:
        begin = connection.recv(4_096)
        (left,) = [
            worker["worker_id"]
            for worker in fleet.get("/health")[1]["workers"]
            if sum(worker["requests"])
        ]
        workers[left].popen.send_signal(signal.SIGKILL)
        assert b"[DONE]" in begin + rest_of(connection)
    line = told_of(fleet, "moved")
    (other,) = workers.keys() - {left}
    assert (line["left"], line["workers"]) == ([f"{left}/0"], [f"{other}/0"])
    assert (line["moves"], line["outcome"], line["error"]) == (1, "length", "")
    assert (line["output_tokens"], line["model"]) == (TOKENS, "demo")
    assert line["gap_p50_s"] <= line["gap_p99_s"]
    count = metric(fleet, "dynamo_frontend_inter_token_latency_seconds_count", model="demo")
    assert count == TOKENS - 1  # the pause of the move is one of them
    longest_s = line["took_s"] - line["first_token_s"]
    gaps_s = metric(fleet, "dynamo_frontend_inter_token_latency_seconds_sum", model="demo")
    assert 0 < gaps_s <= longest_s
    moved = "dynamo_frontend_model_migration_total"
    assert metric(fleet, moved, model="demo", migration_type="ongoing_request") == 1


def test_what_waits_is_told_while_it_does_and_behind(logging_json: Fleet) -> None:
    fleet = logging_json
    start_workers(fleet, 2, "--max-running-requests", "1")
    waiting = "kvmesh_frontend_queued_requests"
    with ExitStack() as stack:
        # each worker is sent one more than it runs
        held = [
            stack.enter_context(asked(fleet, LONG | {"max_tokens": 7_000, "prompt": SECRET}))
            for _ in range(4)
        ]
        fleet.wait_until(
            lambda: sum(sum(each["requests"]) for each in fleet.get("/health")[1]["workers"]) == 4,
            "the workers have four",
        )
        last = stack.enter_context(
            asked(fleet, LONG | {"max_tokens": 3}, "x-request-id: waited", "connection: close")
        )
        fleet.wait_until(lambda: metric(fleet, waiting, model="demo") == 1, "one waits")
        assert metric(fleet, "dynamo_frontend_inflight_requests", model="demo") == 5
        fleet.wait_until(
            lambda: metric(fleet, "dynamo_frontend_queued_requests", model="demo") == 3,
            "two have begun",
        )
        assert metric(fleet, "dynamo_frontend_requests_started_total", model="demo") == 5
        for connection in held:
            connection.close()
        assert b"[DONE]" in rest_of(last)
    line = told_of(fleet, "waited")
    assert 0 < line["queued_s"] <= line["sent_s"] <= line["first_token_s"] <= line["took_s"]
    fleet.wait_until(
        lambda: metric(fleet, "dynamo_frontend_disconnected_clients") == 4, "four left"
    )
    ended = {"model": "demo", "endpoint": "completions", "request_type": "stream"}
    total = "dynamo_frontend_requests_total"
    assert metric(fleet, total, **ended, status="error", error_type="cancelled") == 4
    assert metric(fleet, total, **ended, status="success", error_type="") == 1
    assert metric(fleet, "dynamo_frontend_model_cancellation_total", **ended) == 4
    assert metric(fleet, waiting, model="demo") == 0
    assert metric(fleet, "dynamo_frontend_inflight_requests") == 0
    assert metric(fleet, "dynamo_frontend_output_tokens_total", model="demo") >= 3


def test_a_refused_request_is_found_by_its_id(logging_json: Fleet) -> None:
    fleet = logging_json
    start_workers(fleet, 1)
    body = LONG | {"prompt": SECRET, "temperature": 17}
    with asked(fleet, body, "x-request-id: refused", "connection: close") as connection:
        assert b"400 Bad Request" in rest_of(connection)
    line = told_of(fleet, "refused")
    assert (line["outcome"], line["status"]) == ("invalid_value", 400)
    assert "workers" not in line
