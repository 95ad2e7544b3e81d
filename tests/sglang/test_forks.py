"""A program in a fork is what one of its own would be: what it reads, writes and ends with."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from starter.waiting import wait_until
from tests.kit.forks import run_with_sglang, start_with_sglang

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(120)]


def test_a_program_reads_writes_and_ends_as_it_says() -> None:
    text = "import sys; print(sys.stdin.read() + sys.argv[1]); sys.exit('so')"
    done = run_with_sglang("-c", text, "one", given="given ")
    assert (done.returncode, done.stdout, done.stderr) == (1, "given one\n", "so\n")


def test_one_that_runs_is_awaited_and_ended_by_a_signal_in_a_session_of_its_own(
    tmp_path: Path,
) -> None:
    text = (
        "import os, setproctitle, time; setproctitle.setproctitle('called::this');"
        "print(os.environ['WORD'], flush=True); time.sleep(60)"
    )
    process = start_with_sglang(["-c", text], tmp_path / "log", {"WORD": "here"})
    wait_until(lambda: process.output() == "here\n", "it has begun", [process])
    assert psutil.Process(process.pid).name() == "called::this"
    with pytest.raises(subprocess.TimeoutExpired):
        process.popen.wait(0.01)
    assert process.alive()
    assert os.getsid(process.pid) == process.pid
    assert len(process.children_left()) == 1
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(30) == -signal.SIGTERM
    assert not process.alive()
    assert process.children_left() == []
