"""Forks of the prepared process: real children of this one, that do what the command does."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from starter.process import REPO, Process, start
from starter.waiting import wait_until
from tests.kit.forks import start_light

WORKER = (sys.executable, "-m", "workers", "--engine", "sim", "--frontend", "tcp://127.0.0.1:9")
ASKER = f"""
import sys, signal
from pathlib import Path
from tests.kit.forks import start_light
print(start_light({WORKER!r}, Path(sys.argv[1])).pid, flush=True)
signal.pause()
"""


def running(log: Path) -> Process:
    """A worker that is up and has no frontend."""
    process = start_light(WORKER, log)
    wait_until(lambda: "sim is up" in process.output(), "it is up", [process])
    return process


@pytest.mark.parametrize(
    "command",
    [
        ("frontend", "--no-such-flag"),
        ("frontend",),
        ("workers", "--engine", "sim", "--help"),
        ("workers", "--engine", "sim", "--model-path", "/nowhere"),
    ],
)
def test_it_says_and_ends_as_the_command_does(tmp_path: Path, command: tuple[str, ...]) -> None:
    whole, environment = (sys.executable, "-m", *command), {"KVMESH_MESH_BIND": "tcp://0.0.0.0:0"}
    real = start(whole, tmp_path / "real", environment=environment)
    fork = start_light(whole, tmp_path / "fork", environment=environment)
    codes = real.popen.wait(60), fork.popen.wait(60)
    assert codes[0] == codes[1] == fork.popen.poll()
    assert real.output().splitlines() == fork.output().splitlines() != []


def test_it_leads_a_session_with_its_output_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    process = start_light(WORKER, log)
    assert process.name == "a"
    proc = Path(f"/proc/{process.pid}")
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    wait_until(lambda: "sim is up" in process.output(), "it is up", [process])
    assert (proc / "cwd").readlink() == REPO
    links = [(proc / "fd" / str(number)).readlink() for number in range(3)]
    assert links == [Path(os.devnull), log, log]
    assert process.stop() == 0
    assert process.children_left() == []


def test_its_end_is_awaited_in_bounds(tmp_path: Path) -> None:
    process = running(tmp_path / "a")
    with pytest.raises(subprocess.TimeoutExpired):
        process.popen.wait(0.01)
    assert process.popen.poll() is None
    assert process.popen.returncode is None
    process.kill()
    assert process.popen.wait() == process.popen.returncode == -signal.SIGKILL
    process.popen.send_signal(signal.SIGTERM)  # to nobody
    process.kill()


def test_it_is_killed_with_the_process_that_asked_for_it(tmp_path: Path) -> None:
    asker = start(
        [sys.executable, "-c", ASKER, str(tmp_path / "fork")],
        tmp_path / "asker",
        environment={"PYTHONPATH": str(REPO)},
    )
    wait_until(lambda: asker.output().endswith("\n"), "it has a fork", [asker])
    descriptor = os.pidfd_open(int(asker.output()))
    asker.kill()
    assert select.select([descriptor], [], [], 30)[0]
    os.close(descriptor)
