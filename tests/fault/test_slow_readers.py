"""A client that does not read costs a bounded buffer for a while, is cut off and frees the engine;
others do not notice.
"""

from pathlib import Path

from starter.process import Process
from tests.fault.raw_http import (
    asked,
    connected,
    events_of,
    metric,
    request_bytes,
    requests_running,
    rest_of,
)
from tests.kit.fleet import Fleet

BUFFERED_BYTES_MAX = 512 * 1024
"""64 KiB here, as much in the kernel, what was under way, and what the client's own kernel took."""

FLOOD = {"model": "demo", "prompt": "hi", "max_tokens": 7_000, "n": 16, "stream": True}
"""Some 400 KB a second for 45 seconds."""


def _resident_bytes(process: Process) -> int:
    return int(Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1]) * 4096


def test_a_client_that_does_not_read_is_cut_off_and_others_read_on(fleet: Fleet) -> None:
    frontend = fleet.frontend()
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192")
    fleet.wait_for_workers(1)
    short = FLOOD | {"n": 1, "max_tokens": 500}
    with (
        connected(fleet, receive_bytes=16_384) as stalled,
        asked(fleet, short, "connection: close") as healthy,
    ):
        assert healthy.recv(10)
        before_bytes = _resident_bytes(frontend)
        stalled.sendall(request_bytes(FLOOD))
        fleet.wait_until(lambda: requests_running(fleet) == 17, "both run")
        events = events_of(b"HTTP" + rest_of(healthy))
        assert events[-1] == "[DONE]"
        fleet.wait_until(
            lambda: metric(fleet, "kvmesh_frontend_slow_readers_total") == 1,
            "it is cut off",
            wait_s_max=40,
        )
        fleet.wait_until(lambda: requests_running(fleet) == 0, "the engine is free", wait_s_max=2)
        assert _resident_bytes(frontend) - before_bytes < 10_000_000
        assert metric(fleet, "dynamo_frontend_model_cancellation_total", request_type="stream") == 1
        got_bytes = 0
        try:
            while piece := stalled.recv(65_536):
                got_bytes += len(piece)
        except ConnectionResetError:
            pass
        assert 0 < got_bytes < BUFFERED_BYTES_MAX
