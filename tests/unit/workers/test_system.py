"""What the system pages say of each state of a worker, and the server that says it from a
thread.
"""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from protocol.process.start_error import StartError
from tests.unit.workers.board_samples import RANK, SERVING
from workers.system.board import LOOP_STALLED_S, Board
from workers.system.controls import Controls
from workers.system.pages import SystemPages
from workers.system.server import SystemServer


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board("w-1", clock)


def _page(board: Board, path: str, method: str = "GET") -> tuple[int, Any]:
    status, _, body = SystemPages(board, Controls())._answer(method, path)
    return status, json.loads(body)


def _statuses(board: Board) -> tuple[int, int, int]:
    """Of /live, /ready and /health."""
    return tuple(_page(board, path)[0] for path in ("/live", "/ready", "/health"))  # type: ignore[return-value]


def test_a_worker_that_loads_is_live_and_no_more_however_long_it_takes(
    board: Board, clock: Clock
) -> None:
    clock.now += 1_000
    assert _statuses(board) == (200, 503, 503)
    assert _page(board, "/live")[1] == {"status": "live", "phase": "loading"}
    assert _page(board, "/ready")[1]["reasons"] == ["the engine is loading"]


@pytest.mark.parametrize(
    ("change", "statuses", "reasons"),
    [
        ({}, (200, 200, 200), []),
        ({"frontends_connected": 0}, (200, 503, 200), ["no frontend is connected"]),
        (
            {"frontends_connected": 0, "refusal": "no"},
            (200, 503, 200),
            ["no frontend took the worker in: no"],
        ),
        ({"refusal": "no"}, (200, 200, 200), []),
        (
            {"unhealthy": "rank 1 has not answered for 3.1 s"},
            (200, 503, 503),
            ["rank 1 has not answered for 3.1 s"],
        ),
        ({"phase": "draining"}, (200, 503, 200), ["draining"]),
        ({"phase": "leaving"}, (200, 503, 200), ["leaving"]),
    ],
)
def test_the_three_probes_tell_different_things(
    board: Board, change: dict[str, Any], statuses: tuple[int, int, int], reasons: list[str]
) -> None:
    board.show(replace(SERVING, **change))
    assert _statuses(board) == statuses
    assert _page(board, "/ready")[1].get("reasons", []) == reasons


def test_a_loop_that_hangs_is_seen_by_all_of_them(board: Board, clock: Clock) -> None:
    board.show(SERVING)
    clock.now += LOOP_STALLED_S
    assert _statuses(board) == (200, 200, 200)
    clock.now += 1
    assert _statuses(board) == (503, 503, 503)
    assert _page(board, "/live")[1]["reasons"] == ["the worker's loop has not turned for 6.0 s"]
    board.show(SERVING)
    assert _statuses(board) == (200, 200, 200)


def test_a_loop_that_ends_the_engine_does_not_hang(board: Board, clock: Clock) -> None:
    board.show(replace(SERVING, phase="leaving"))
    clock.now += 60
    assert _page(board, "/live")[0] == 200


def test_health_tells_all_that_is_known(board: Board) -> None:
    board.show(replace(SERVING, ranks=(RANK,), requests_running=2))
    status, report = _page(board, "/health")
    assert status == 200
    assert report["ranks"] == [
        {
            "dp_rank": 0, "silence_s": 1.5, "complaint": "", "unfinished": 2, "ok": 7, "timeout": 1,
            "failed": 0,
            "latency_s_last": 0.25, "latency_s_sum": 2.0,
        }
    ]  # fmt: skip
    assert (
        report["worker_id"],
        report["status"],
        report["requests_running"],
        report["reasons"],
    ) == ("w-1", "healthy", 2, [])


def test_unknown_pages_and_methods_are_errors_of_the_usual_form(board: Board) -> None:
    status, body = _page(board, "/nothing")
    assert (status, body["error"]["code"]) == (404, "route_not_found")
    status, body = _page(board, "/live", "POST")
    assert (status, body["error"]["code"]) == (405, "method_not_allowed")


@pytest.fixture
def server(board: Board) -> Iterator[SystemServer]:
    server = SystemServer(
        SystemPages(board, Controls(), live_path="/healthz/live"), host="127.0.0.1", port=0
    )
    server.start()
    yield server
    server.stop()


def _get(server: SystemServer, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_it_answers_while_this_thread_does_nothing(server: SystemServer) -> None:
    assert _get(server, "/healthz/live")[0] == 200  # where the setting put it
    assert _get(server, "/live")[0] == 404
    assert _get(server, "/metrics")[1].startswith(b"# HELP dynamo_component_uptime_seconds")


def test_a_port_that_is_taken_is_a_start_error_in_one_line(
    board: Board, server: SystemServer
) -> None:
    with pytest.raises(
        StartError,
        match=f"--system-port {server.port}: cannot listen on 127.0.0.1: Address already in use",
    ):
        SystemServer(SystemPages(board, Controls()), host="127.0.0.1", port=server.port)


def test_it_gives_its_port_back(board: Board) -> None:
    server = SystemServer(SystemPages(board, Controls()), host="127.0.0.1", port=0)
    server.start()
    port = server.port
    with socket.create_connection(("127.0.0.1", port)):  # a client that never says anything
        server.stop()
    SystemServer(SystemPages(board, Controls()), host="127.0.0.1", port=port).stop()
