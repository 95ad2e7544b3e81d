"""Commands of a fleet, and how it ends."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from starter.addresses import Addresses, worker_command
from starter.fleet import Fleet
from starter.waiting import wait_until


def test_a_frontend_binds_its_addresses_and_workers_dial_all_of_theirs() -> None:
    addresses = Addresses(8000, "ipc://here")
    assert addresses.frontend_command("--router-mode", "kv")[1:] == [
        *("-m", "frontend", "--http-port", "8000", "--mesh-bind", "ipc://here"),
        *("--router-mode", "kv"),
    ]
    assert worker_command(["ipc://here", "ipc://there"], "--engine", "sim")[1:] == [
        *("-m", "workers", "--frontend", "ipc://here", "--frontend", "ipc://there"),
        *("--engine", "sim"),
    ]


def test_addresses_differ() -> None:
    one, other = Addresses(), Addresses()
    assert len({one.http_port, other.http_port, one.mesh, other.mesh}) == 4


def test_all_processes_are_asked_to_end_though_one_does_not(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for ignored in ([], [int(signal.SIGTERM)]):
        code = f"""
import os, signal
for number in {ignored}: signal.signal(number, signal.SIG_IGN)
print(os.environ["KVMESH_CACHE_DIR"], flush=True)
signal.pause()
"""
        fleet.launch("one", [sys.executable, "-c", code])
    calm, deaf = fleet.processes
    said = f"{tmp_path / 'cache'}\n"
    fleet.wait_until(lambda: calm.output() == deaf.output() == said, "both run")
    with pytest.raises(subprocess.TimeoutExpired):
        fleet.stop(wait_s_max=1.0)
    assert [process.popen.returncode for process in fleet.processes] == [
        -signal.SIGTERM,
        -signal.SIGKILL,
    ]
    wait_until(lambda: fleet.processes[1].children_left() == [], "nothing is left")
    assert calm.log.name == "0-one.log"
