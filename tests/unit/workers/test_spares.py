"""Processes that are forked ahead, and what multiprocessing makes of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import logging, multiprocessing, os, resource, signal, sys, threading, time
from workers.sglang.cpu import spares

def tell(pipe, what):
    handlers = logging.getLogger().handlers
    pipe.send((os.getpid(), os.getppid(), os.environ.get("SET_LATER"), "GONE" in os.environ,
               resource.getrlimit(resource.RLIMIT_NOFILE)[0],
               multiprocessing.current_process().name,
               multiprocessing.parent_process().is_alive(), handlers, sys.stdin.read(), what))
    if what == "wait":
        signal.pause()
    sys.exit(5)

def children():
    path = f"/proc/self/task/{os.getpid()}/children"
    return [int(pid) for pid in open(path).read().split()]

def started(what):
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=tell, args=(theirs, what), name=what)
    process.start()
    theirs.close()
    return process, ours.recv()
"""


def _run(tmp_path: Path, code: str) -> str:
    program = tmp_path / "program.py"
    program.write_text(f"{_PROGRAM}\nif __name__ == '__main__':\n{code}")
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "GONE": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


_USED = """
    logging.basicConfig()
    multiprocessing.set_start_method("spawn")
    spares.fork_spares(3)
    waiting = children()
    assert len(waiting) == 3
    os.environ["SET_LATER"] = "x"
    del os.environ["GONE"]
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    ending, told = started("end")
    assert told == (waiting[0], os.getpid(), "x", False, 200, "end", True, [], "", "end"), told
    ending.join(30)
    assert ending.exitcode == 5
    killed, told = started("wait")
    assert told[0] == killed.pid == waiting[1]
    assert killed.is_alive() and killed.exitcode is None
    killed.kill()
    killed.join()
    assert killed.exitcode == -9
    spares.dismiss_spares()
    tracker = multiprocessing.resource_tracker._resource_tracker._pid
    assert set(children()) <= {tracker}, children()
    started_anew, told = started("end")
    assert told[0] == started_anew.pid not in waiting
    started_anew.join()
    assert started_anew.exitcode == 5
"""


def test_a_spare_is_a_child_like_those_that_are_started_anew(tmp_path: Path) -> None:
    _run(tmp_path, _USED)


_THREADS = """
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    spares.fork_spares(2)
    assert not children()
"""


def test_a_process_with_threads_is_not_forked(tmp_path: Path) -> None:
    _run(tmp_path, _THREADS)


_WRAPPED = """
    multiprocessing.set_start_method("spawn")
    spares.fork_spares(1)
    spares.fork_spares(1)
    (waiting,) = children()
    wrapper = sys.argv[0] + ".sh"
    with open(wrapper, "w") as script:
        script.write(f'#!/bin/sh\\nWRAPPED=1 exec {sys.executable} "$@"\\n')
    os.chmod(wrapper, 0o700)
    multiprocessing.set_executable(wrapper)
    process, told = started("end")
    assert told[0] == process.pid != waiting
    process.join()
    spares.dismiss_spares()
"""


def test_what_is_put_in_front_of_python_is_kept(tmp_path: Path) -> None:
    _run(tmp_path, _WRAPPED)


_DEAD = """
    multiprocessing.set_start_method("spawn")
    spares.fork_spares(2)
    dead, alive = children()
    os.kill(dead, signal.SIGKILL)
    os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
    logging.disable()
    process, told = started("end")
    assert told[0] == process.pid == alive
    process.join()
    spares.dismiss_spares()
"""


def test_a_spare_that_was_killed_is_passed_over(tmp_path: Path) -> None:
    _run(tmp_path, _DEAD)


@pytest.mark.parametrize("at_work", [False, True])
def test_a_spare_ends_with_its_parent(tmp_path: Path, at_work: bool) -> None:
    work = "started('wait')" if at_work else "None"
    code = f"""
    multiprocessing.set_start_method("spawn")
    spares.fork_spares(1)
    (pid,) = children()
    {work}
    print(pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    program = tmp_path / "program.py"
    program.write_text(f"{_PROGRAM}\nif __name__ == '__main__':\n{code}")
    done = subprocess.run(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    # its end closed the pipe that it had from this process, which was read to its end
    assert done.returncode == -9
    assert not Path(f"/proc/{int(done.stdout)}/exe").exists()
