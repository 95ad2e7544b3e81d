"""Real processes: what they say is read, and they end as they are asked to, or by force."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from starter.process import REPO, Process, start
from starter.waiting import NotReady, wait_until

DEAF = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; "
CALM = "print('here', flush=True); signal.pause()"
PARENT = (
    "import subprocess, sys; "
    "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()']); "
    "print('here', flush=True); signal.pause()"
)


def started(code: str, log: Path, **options: object) -> Process:
    """A program that has said "here"."""
    process = start([sys.executable, "-c", f"import signal; {code}"], log, **options)
    wait_until(lambda: "here" in process.output(), "it is here", [process])
    return process


def ends(pid: int) -> bool:
    """Whether a process that was killed is dead: the kernel takes its time on a busy machine."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 30)[0])
    finally:
        os.close(descriptor)


def test_it_leads_a_session_with_its_output_in_the_log(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ['SAID'], file=sys.stderr); input()"
    process = start(
        [sys.executable, "-c", code], tmp_path / "logs" / "a.log", environment={"SAID": "so"}
    )
    assert process.name == "a"
    assert process.popen.wait(30) == 1  # there is nothing to read
    assert f"{REPO} so\n" in process.output()
    assert "EOFError" in process.last_words()
    assert process.last_words().startswith(f"--- {process.log} (ended with 1)\n")


def test_it_is_asked_to_end_and_its_children_are_left(tmp_path: Path) -> None:
    process = started(PARENT, tmp_path / "log")
    assert os.getsid(process.pid) == process.pid
    assert len(process.children_left()) == 2
    assert process.stop() == -signal.SIGTERM
    (child,) = process.children_left()
    assert process.stop() == -signal.SIGTERM  # once more is nothing
    process.kill()
    assert ends(int(child.split()[1]))


def test_one_that_does_not_end_in_time_is_killed_with_its_group(tmp_path: Path) -> None:
    process = started(DEAF + PARENT, tmp_path / "log")
    children = [int(line.split()[1]) for line in process.children_left()]
    with pytest.raises(subprocess.TimeoutExpired):
        process.stop(wait_s_max=0.1)
    assert process.popen.returncode == -signal.SIGKILL
    assert all(map(ends, children))


@pytest.mark.parametrize(
    ("code", "wait_s_max", "ended_by"),
    [(PARENT, 30.0, signal.SIGINT), (DEAF + PARENT, 0.1, signal.SIGKILL)],
)
def test_an_interrupted_one_leaves_nothing(
    tmp_path: Path, code: str, wait_s_max: float, ended_by: int
) -> None:
    with started(code, tmp_path / "log") as process:
        children = [int(line.split()[1]) for line in process.children_left()]
        process.interrupt(wait_s_max)
    assert process.popen.returncode == -ended_by
    assert all(map(ends, children))


def test_a_process_that_ends_is_told_with_every_log(tmp_path: Path) -> None:
    with started(CALM, tmp_path / "calm.log") as calm:
        broken = start([sys.executable, "-c", "raise SystemExit('no such flag')"], tmp_path / "b")
        with pytest.raises(NotReady) as raised:
            wait_until(lambda: False, "both serve", [calm, broken])
    told = str(raised.value)
    assert told.startswith("both serve: b ended with 1\n")
    assert "(runs)\nhere" in told
    assert "(ended with 1)\nno such flag" in told


def test_an_end_that_may_be_is_awaited_through(tmp_path: Path) -> None:
    process = start(["true"], tmp_path / "log")
    process.popen.wait()
    answers = iter([False, True])
    wait_until(lambda: next(answers), "the second time", [process], may_end=(0,))


def test_nobody_there_means_not_yet_and_time_is_bounded() -> None:
    def refused() -> bool:
        raise ConnectionRefusedError

    with pytest.raises(NotReady, match=r"^not within 0\.1 s: it serves$"):
        wait_until(refused, "it serves", wait_s_max=0.1)
