"""The system port: whoever holds its connections, or is a web page, keeps no probe from its answer
and no user from theirs.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from starter.ports import free_port
from tests.kit.fleet import Fleet
from workers.system.guarded_protocol import CONNECTIONS_MAX, REQUEST_S_MAX

SIM = ("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "4096")
PROBES = ("/live", "/ready", "/health", "/metrics")
CONTROL = "/engine/load_lora_adapter"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, int, int]]:
    """A fleet, the system port of its worker, and that one's process."""
    fleet, port = Fleet(tmp_path_factory.mktemp("system")), free_port()
    fleet.frontend()
    worker = fleet.worker(*SIM, "--system-port", str(port))
    fleet.wait_for_workers(1)
    fleet.wait_until(
        lambda: _ask(port, "/ready")[0] == 200, "the worker knows that it was taken in"
    )
    yield fleet, port, worker.popen.pid
    fleet.stop()


def _ask(
    port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(
            method,
            path,
            body=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _all_are_served(fleet: Fleet, port: int) -> None:
    assert [_ask(port, path)[0] for path in PROBES] == [200] * len(PROBES)
    with fleet.client() as client:
        assert (
            client.with_options(timeout=5)
            .completions.create(model="demo", prompt="hi", max_tokens=2)
            .choices[0]
            .text
        )


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /live HTTP/1.1\r\nhost: x\r\n",
        b"POST /engine/x HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"content-length: 9\r\n\r\n{",
    ],
)
def test_idle_connections_take_no_place_from_a_probe(
    system: tuple[Fleet, int, int], begun: bytes
) -> None:
    fleet, port, pid = system
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3 * CONNECTIONS_MAX)]
    try:
        for connection in held:
            connection.sendall(begun)
        _all_are_served(fleet, port)
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 2 * CONNECTIONS_MAX
    finally:
        for connection in held:
            connection.close()


def test_a_request_that_does_not_end_is_cut_off(system: tuple[Fleet, int, int]) -> None:
    fleet, port, _ = system
    with socket.create_connection(("127.0.0.1", port), timeout=3 * REQUEST_S_MAX) as slow:
        slow.sendall(
            (
                f"POST {CONTROL} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: "
                "application/json\r\ncontent-length: 100\r\n\r\n"
            ).encode()
            + b"{"
        )
        _all_are_served(fleet, port)
        with suppress(ConnectionResetError):
            assert slow.recv(1) == b""
    _all_are_served(fleet, port)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "[::1",
        "\x80",
    ],
)
def test_a_page_whose_name_was_made_to_stand_for_this_host_reads_nothing(
    system: tuple[Fleet, int, int], host: str
) -> None:
    _, port, _ = system
    for path in PROBES:
        assert _ask(port, path, host=host)[0] == 403
    assert _ask(port, CONTROL, "POST", b"{}", host=host, **JSON)[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9090", "[::1]:9090"])
def test_probes_of_this_host_are_answered(system: tuple[Fleet, int, int], host: str) -> None:
    assert _ask(system[1], "/live", host=host)[0] == 200


def test_a_web_page_controls_nothing(system: tuple[Fleet, int, int]) -> None:
    _, port, _ = system
    body = json.dumps({"lora_name": "a", "lora_path": "/etc"}).encode()
    assert (
        _ask(
            port,
            CONTROL,
            "POST",
            body,
            origin="http://127.0.0.1:3000",
            content_type="application/json",
        )[0]
        == 403
    )
    assert _ask(port, CONTROL, "POST", body, content_type="text/plain")[0] == 415
    # there is no adapter
    assert _ask(port, CONTROL, "POST", body, content_type="application/json")[0] == 400


def test_invalid_requests_do_not_fill_the_log(system: tuple[Fleet, int, int]) -> None:
    fleet, port, _ = system
    before = [process.output().count("Invalid HTTP request") for process in fleet.processes]
    for each in (port, fleet.http_port):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", each), timeout=5) as connection:
                connection.sendall(b"\xff\0\0nonsense\r\n\r\n")
                while connection.recv(4096):
                    pass
    after = [process.output().count("Invalid HTTP request") for process in fleet.processes]
    assert all(0 <= more - less <= 1 for more, less in zip(after, before, strict=True))
    _all_are_served(fleet, port)


def test_beyond_its_host_a_token_is_asked_for_and_probes_need_none(tmp_path: Path) -> None:
    fleet, open_port, port = Fleet(tmp_path), free_port(), free_port()
    token = tmp_path / "token"
    token.write_text("a-token-of-some-length\n")
    everywhere = (*SIM, "--system-host", "0.0.0.0")
    try:
        fleet.frontend()
        fleet.worker(*everywhere, "--system-port", str(open_port))
        fleet.worker(*everywhere, "--system-port", str(port), "--system-token-file", str(token))
        fleet.wait_for_workers(2)
        fleet.wait_until(
            lambda: all(_ask(each, "/ready")[0] == 200 for each in (open_port, port)),
            "the workers know that they were taken in",
        )

        def flush(port: int, **headers: str) -> tuple[int, str]:
            status, answer = _ask(
                port,
                "/engine/flush_cache",
                "POST",
                b"{}",
                content_type=JSON["content-type"],
                **headers,
            )
            return status, json.loads(answer).get("error", {}).get("message", "")

        status, message = flush(open_port)
        assert (status, "--system-token-file" in message) == (403, True)
        assert [_ask(port, path)[0] for path in PROBES] == [200] * len(PROBES)
        for shown in ({}, {"authorization": "Bearer a-token-of-other-length"}):
            assert flush(port, **shown)[0] == 401
        assert flush(port, authorization="Bearer a-token-of-some-length")[0] == 200
    finally:
        fleet.stop()
