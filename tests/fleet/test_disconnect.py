"""A client that leaves frees the engine, whether it was being streamed to or not."""

import json
import socket

import pytest

from tests.kit.fleet import Fleet


def _requests_running(fleet: Fleet) -> int:
    return sum(sum(worker["requests"]) for worker in fleet.get("/health")[1]["workers"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_has_its_request_aborted(fleet: Fleet, stream: bool) -> None:
    fleet.frontend()
    worker = fleet.worker(
        "--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192"
    )
    fleet.wait_for_workers(1)
    body = json.dumps(
        {"model": "demo", "prompt": "hi", "max_tokens": 100_000 // 32, "stream": stream}
    ).encode()
    with socket.create_connection(("127.0.0.1", fleet.http_port)) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        if stream:
            assert connection.recv(10)
        fleet.wait_until(lambda: _requests_running(fleet) == 1, "the request runs")
    fleet.wait_until(lambda: _requests_running(fleet) == 0, "the engine is free")
    assert worker.popen.poll() is None
