"""Frontend processes behind one port share the clients, are one to who watches and stops them, and
do without one that dies.
"""

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from starter.addresses import Addresses
from starter.pages import port_open
from starter.ports import reserve_ports
from tests.fault.frontend_processes import (
    MINUTES,
    PROCESSES,
    SOME_SECONDS,
    begun_in_each,
    children_of,
    connected_to_each,
    connections_of,
    fleet_of_two,
    found_by,
    start_two,
)
from tests.fault.raw_http import connected, metric, one_answer, parsed, requests_running, rest_of
from tests.kit.fleet import Fleet

WHOLE: Final = b"data: [DONE]\n\n\r\n0\r\n\r\n"
"""Ends an answer that lacks nothing."""


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """An empty fleet for one test."""
    fleet = fleet_of_two(tmp_path)
    yield fleet
    fleet.stop()


def test_pages_add_up_whichever_process_answers(fleet: Fleet) -> None:
    frontend = start_two(fleet)
    streams = begun_in_each(fleet, frontend, MINUTES)
    for _ in range(4):
        assert requests_running(fleet) == len(streams)
        assert metric(fleet, "dynamo_frontend_inflight_requests", model="demo") == len(streams)
        assert metric(fleet, "kvmesh_router_decisions_total") == len(streams)
        assert metric(fleet, "kvmesh_frontend_workers") == 1
    for connection in connected_to_each(fleet, frontend):
        page = _page(connection, "/status")
        (worker,) = page["workers"]
        assert worker["ranks"][0]["booked"] == len(streams)
        connection.close()
    for stream in streams:
        stream.close()
    fleet.wait_until(lambda: requests_running(fleet) == 0, "both see their clients leave")


def test_aborting_by_name_finds_what_another_process_answers(fleet: Fleet) -> None:
    frontend = start_two(fleet, "--allow-abort-all")
    streams = begun_in_each(fleet, frontend, MINUTES)
    with httpx.Client(base_url=fleet.url) as client:
        answer = client.post("/abort_request", json={"abort_all": True})
    assert answer.json() == {"aborted": len(streams)}
    for stream in streams:
        assert b'"finish_reason":"abort"' in rest_of(stream)
        stream.close()


def test_a_request_that_ended_is_found_by_whichever_process_is_asked(fleet: Fleet) -> None:
    frontend = start_two(fleet)
    with fleet.client() as client:
        client.completions.create(
            model="demo", prompt="hi", max_tokens=1, extra_headers={"x-request-id": "mine"}
        )
    fleet.wait_until(lambda: fleet.get("/status/requests/mine")[0] == 200, "it has ended")
    for connection in connected_to_each(fleet, frontend):
        assert _page(connection, "/status/requests/mine")["output_tokens"] == 1
        connection.close()


def test_one_that_is_killed_takes_only_its_own_and_comes_back(fleet: Fleet) -> None:
    frontend = start_two(fleet)
    worker = fleet.processes[-1]
    streams = begun_in_each(fleet, frontend, SOME_SECONDS)
    decided = metric(fleet, "kvmesh_router_decisions_total")
    assert decided == len(streams)
    killed, other = children_of(frontend)
    lost, kept = connections_of(fleet, killed), connections_of(fleet, other)
    os.kill(killed, signal.SIGKILL)
    with fleet.client() as client:  # the other one serves on
        assert client.completions.create(model="demo", prompt="hi", max_tokens=1).usage
    ends = [_ended_whole(stream) for stream in streams]
    assert (ends.count(True), ends.count(False)) == (kept, lost)
    found_by(fleet, worker, 3)
    assert metric(fleet, "kvmesh_router_decisions_total") == decided + 1
    for stream in [*streams, *begun_in_each(fleet, frontend, MINUTES)]:
        stream.close()


def _ended_whole(stream: socket.socket) -> bool:
    try:
        return rest_of(stream).endswith(WHOLE)
    except ConnectionResetError:
        return False


def test_all_drain_as_one(fleet: Fleet) -> None:
    frontend = start_two(fleet)
    streams = begun_in_each(fleet, frontend, SOME_SECONDS)
    os.killpg(frontend.pid, signal.SIGTERM)  # as a service manager does, each of them
    fleet.wait_until(lambda: fleet.get("/ready")[0] == 503, "they drain")
    assert metric(fleet, "kvmesh_frontend_draining") == 1
    for stream in streams:
        assert rest_of(stream).endswith(WHOLE)
        stream.close()
    assert frontend.popen.wait(10) == 0
    assert not port_open(fleet.http_port)


def test_a_second_signal_hurries_all(fleet: Fleet) -> None:
    frontend = start_two(fleet)
    streams = begun_in_each(fleet, frontend, MINUTES)
    frontend.popen.send_signal(signal.SIGINT)
    fleet.wait_until(lambda: fleet.get("/ready")[0] == 503, "they drain")
    frontend.popen.send_signal(signal.SIGINT)
    for stream in streams:
        assert b"shutting_down" in rest_of(stream)
        stream.close()
    assert frontend.popen.wait(10) == 0


def test_a_signal_while_they_start_ends_all(fleet: Fleet) -> None:
    frontend = fleet.frontend("--frontend-processes", str(PROCESSES))
    fleet.wait_until(lambda: len(children_of(frontend)) == PROCESSES, "they start")
    assert frontend.stop() == 0
    assert not port_open(fleet.http_port)


def test_they_die_with_their_parent(fleet: Fleet) -> None:
    frontend = start_two(fleet)
    with connected(fleet) as silent:
        frontend.popen.kill()
        frontend.popen.wait(10)
        assert silent.recv(1) == b""
    fleet.wait_until(lambda: not port_open(fleet.http_port), "nobody listens")


def test_workers_find_all_over_tcp_with_a_key(tmp_path: Path) -> None:
    key = tmp_path / "mesh.key"
    key.write_text("ab" * 32)
    fleet = Fleet(tmp_path, Addresses(mesh=f"tcp://127.0.0.1:{reserve_ports(PROCESSES)}"))
    try:
        fleet.frontend("--frontend-processes", str(PROCESSES), "--mesh-key-file", str(key))
        worker = fleet.worker("--served-model-name", "demo", "--mesh-key-file", str(key))
        found_by(fleet, worker, PROCESSES)
        with fleet.client() as client:
            assert client.completions.create(model="demo", prompt="hi", max_tokens=1).usage
    finally:
        fleet.stop()


def test_all_tell_of_a_worker_that_loads(fleet: Fleet) -> None:
    frontend = fleet.frontend("--frontend-processes", str(PROCESSES))
    fleet.wait_until(lambda: frontend.output().count(" serves") == PROCESSES, "both serve")
    fleet.worker("--served-model-name", "demo", "--sim-startup-s", "60")
    connections = connected_to_each(fleet, frontend)

    def all_know() -> bool:
        return all(_page(connection, "/health")["loading"] for connection in connections)

    fleet.wait_until(all_know, "all know that it loads")
    for connection in connections:
        connection.close()


def _page(connection: socket.socket, path: str) -> Any:
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    return json.loads(parsed(one_answer(connection))[2])


def test_a_port_that_is_taken_is_said_once(fleet: Fleet) -> None:
    first = start_two(fleet)
    second = fleet.frontend("--frontend-processes", "2", "--mesh-bind", f"{fleet.mesh}-other")
    assert second.popen.wait(20) == 3
    assert second.output().count("cannot start") == 1
    assert f"cannot serve HTTP on 127.0.0.1:{fleet.http_port}" in second.output()
    assert first.alive()
    fleet.processes.remove(second)


def test_what_one_cannot_have_ends_all(fleet: Fleet, tmp_path: Path) -> None:
    taken = f"{fleet.mesh}.1"
    other = fleet.frontend("--mesh-bind", taken, "--http-port", "0")
    fleet.wait_until(lambda: "serving" in other.output(), "the address is taken")
    frontend = fleet.frontend("--frontend-processes", "2")
    assert frontend.popen.wait(20) == 3
    assert frontend.output().count("cannot start") == 1
    assert f"cannot bind the mesh to {taken}" in frontend.output()
    assert not port_open(fleet.http_port)
    fleet.processes.remove(frontend)
