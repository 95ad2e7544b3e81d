"""Two workers that reach the frontend and not each other, as behind a firewall: one of them is in a
network of its own, with a mesh that is a file.
"""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from starter.addresses import Addresses, worker_command
from tests.kit.fleet import Fleet

ALONE = ("unshare", "--user", "--map-root-user", "--net")
"""A network namespace without any way out, not even to itself."""

WAIT = ("--sim-handover-wait-s", "0.5", "--sim-speedup", "0")

pytestmark = pytest.mark.skipif(
    subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no namespaces here",
)


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    directory = tmp_path_factory.mktemp("apart")
    fleet = Fleet(directory, Addresses(mesh=f"ipc://{directory}/mesh"))
    fleet.frontend()
    fleet.worker("--disaggregation-mode", "prefill", "--worker-id", "p", *WAIT)
    mode = "--engine", "sim", "--disaggregation-mode", "decode", "--worker-id", "alone", *WAIT
    fleet.launch("alone", [*ALONE, *worker_command([fleet.mesh], *mode)])
    yield fleet
    fleet.stop()


def asked(fleet: Fleet, number: int) -> Any:
    body = {
        "model": "kvmesh-demo",
        "messages": [{"role": "user", "content": f"Hi {number}"}],
        "max_tokens": 8,
        "nvext": {"extra_fields": ["worker_id"]},
    }
    return httpx.post(f"{fleet.url}/v1/chat/completions", json=body, timeout=60)


def moves(fleet: Fleet) -> dict[str, float]:
    page = httpx.get(f"{fleet.url}/metrics").text
    found = re.findall(
        r'^kvmesh_frontend_migrations_total\{cause="not_handed_over",outcome="(\w+)"\} (\S+)$',
        page,
        re.MULTILINE,
    )
    return {outcome: float(times) for outcome, times in found}


def test_others_serve_what_two_workers_cannot(fleet: Fleet) -> None:
    frontend = fleet.processes[0]
    fleet.wait_for_workers(2)
    refused = asked(fleet, 0)
    assert refused.status_code == 502, refused.text
    assert refused.json()["error"] == {
        "message": (
            "The KV cache of the prompt did not come over from the worker that computed it to the "
            "one that was to generate. The two may not reach each other, and no further pair could "
            "be tried."
        ),
        "type": "server_error",
        "param": None,
        "code": "handover_failed",
    }
    fleet.worker("--disaggregation-mode", "decode", "--worker-id", "d", *WAIT)
    fleet.wait_for_workers(3)
    for number in range(1, 6):
        told = asked(fleet, number)
        assert told.status_code == 200, told.text
        assert told.json()["nvext"]["worker_id"]["decode_worker_id"] == "d"
    # the first one's three moves, and none of another
    assert moves(fleet) == {"moved": 3.0, "handover_failed": 1.0}
    assert frontend.output().count("no KV cache came over from worker p to worker alone") == 1
