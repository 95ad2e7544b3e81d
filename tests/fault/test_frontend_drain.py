"""A frontend that is told to stop refuses what is new, finishes what is open, and cuts nobody off
without a word.
"""

import json
import signal
import socket
import time

import pytest

from starter.process import Process
from tests.fault.raw_http import (
    asked,
    connected,
    events_of,
    metric,
    one_answer,
    parsed,
    request_bytes,
    requests_running,
    rest_of,
)
from tests.kit.fleet import Fleet

SHORT = {"model": "demo", "prompt": "hi", "max_tokens": 1}
SOME_SECONDS = {"model": "demo", "prompt": "hi", "max_tokens": 300}
MINUTES = {"model": "demo", "prompt": "hi", "max_tokens": 8_000}


@pytest.fixture
def frontend(fleet: Fleet, request: pytest.FixtureRequest) -> Process:
    """A frontend, with the options of the test's parameter, and a worker that takes its time."""
    frontend = fleet.frontend(*getattr(request, "param", ()))
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "16384")
    fleet.wait_for_workers(1)
    return frontend


def _begun(fleet: Fleet, body: dict[str, object]) -> tuple[socket.socket, bytes]:
    """A stream that has begun."""
    connection = asked(fleet, body | {"stream": True})
    return connection, connection.recv(10)


def _drained(fleet: Fleet, frontend: Process) -> None:
    frontend.popen.send_signal(signal.SIGTERM)
    fleet.wait_until(lambda: fleet.get("/ready")[0] == 503, "it drains")


def _ended(answer: bytes) -> tuple[str, str | None]:
    """The last two events: [DONE], and the code of the error before it."""
    *_, event, done = events_of(answer)
    return done, json.loads(event).get("error", {}).get("code")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_frontend_leaves_at_once_and_closes_idle_connections(
    fleet: Fleet, frontend: Process, number: int
) -> None:
    with connected(fleet) as silent, connected(fleet) as kept_alive:
        kept_alive.sendall(request_bytes(SHORT))
        assert parsed(one_answer(kept_alive))[0] == 200
        assert frontend.stop(number, wait_s_max=5) == 0  # no time of its own that it waits for
        assert (silent.recv(1), kept_alive.recv(1)) == (b"", b"")


def test_open_requests_finish_while_new_ones_are_refused(fleet: Fleet, frontend: Process) -> None:
    stream, begin = _begun(fleet, SOME_SECONDS)
    with stream, asked(fleet, SOME_SECONDS) as whole:
        fleet.wait_until(lambda: requests_running(fleet) == 2, "both run")
        _drained(fleet, frontend)
        assert fleet.get("/ready") == (503, {"status": "not ready", "reasons": ["draining"]})
        assert fleet.get("/live")[0] == 200
        status, health = fleet.get("/health")
        assert (status, health["status"], health["reasons"]) == (
            200,
            "degraded",
            ["this frontend is draining"],
        )
        assert metric(fleet, "kvmesh_frontend_draining") == 1
        with asked(fleet, SHORT) as refused:
            status, headers, body = parsed(rest_of(refused))
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        assert json.loads(body)["error"]["code"] == "shutting_down"
        assert metric(fleet, "kvmesh_frontend_rejections_total", reason="shutting_down") == 1
        assert _ended(begin + rest_of(stream)) == ("[DONE]", None)
        status, headers, body = parsed(rest_of(whole))
        assert (status, headers["connection"], json.loads(body)["usage"]["completion_tokens"]) == (
            200,
            "close",
            300,
        )
    assert frontend.popen.wait(10) == 0


def test_a_refused_client_reads_why_even_if_its_body_is_large(
    fleet: Fleet, frontend: Process
) -> None:
    stream, begin = _begun(fleet, SOME_SECONDS)
    with stream:
        _drained(fleet, frontend)
        for _ in range(10):
            with connected(fleet) as refused:
                refused.sendall(request_bytes(SHORT | {"prompt": "x" * 1_000_000}))
                assert parsed(rest_of(refused))[0] == 503
        assert begin


@pytest.mark.parametrize(
    "frontend", [("--graceful-shutdown-grace-period-secs", "3")], indirect=True
)
def test_in_the_grace_period_requests_are_served_and_connections_closed_behind_them(
    fleet: Fleet, frontend: Process
) -> None:
    begun_at = time.monotonic()
    _drained(fleet, frontend)
    with asked(fleet, SHORT) as served:
        status, headers, _ = parsed(rest_of(served))
    assert (status, headers["connection"]) == (200, "close")
    assert frontend.popen.wait(20) == 0
    assert time.monotonic() - begun_at >= 3


@pytest.mark.parametrize(
    "frontend", [("--http-graceful-shutdown-timeout-secs", "1")], indirect=True
)
def test_what_is_open_too_long_ends_with_exactly_one_error(fleet: Fleet, frontend: Process) -> None:
    stream, begin = _begun(fleet, MINUTES)
    with stream, asked(fleet, MINUTES) as whole, connected(fleet) as uploading:
        uploading.sendall(request_bytes(MINUTES)[:-5])
        fleet.wait_until(
            lambda: metric(fleet, "dynamo_frontend_inflight_requests") == 3, "all are open"
        )
        _drained(fleet, frontend)
        answer = begin + rest_of(stream)
        assert _ended(answer) == ("[DONE]", "shutting_down")
        assert answer.count(b'"error"') == 1
        for connection in (whole, uploading):
            status, headers, body = parsed(rest_of(connection))
            assert (status, headers["retry-after"], json.loads(body)["error"]["code"]) == (
                503,
                "1",
                "shutting_down",
            )
    assert frontend.popen.wait(10) == 0


def test_a_second_signal_does_not_wait(fleet: Fleet, frontend: Process) -> None:
    stream, begin = _begun(fleet, MINUTES)
    with stream:
        _drained(fleet, frontend)
        frontend.popen.send_signal(signal.SIGINT)
        assert _ended(begin + rest_of(stream)) == ("[DONE]", "shutting_down")
    assert frontend.popen.wait(10) == 0
