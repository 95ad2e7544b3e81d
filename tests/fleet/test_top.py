"""`kvmesh top` at a terminal, beside real frontends and workers."""

import os
import signal
import subprocess
import sys

import pytest

from starter.ports import free_port
from starter.waiting import wait_until
from tests.fleet.pseudo_terminal import CURSOR_SHOWN, ENTERED, LEFT, Terminal, terminal
from tests.kit.fleet import Fleet

MAIN = "from frontend.cli.main import main; raise SystemExit(main())"
SIM = ("--served-model-name", "demo", "--sim-speedup", "0")
PATHS = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", MAIN, "top", *arguments]


def left_as_it_was(shown: Terminal) -> bool:
    """Whether the terminal is as it was before."""
    said = shown.said
    return (
        said.count(ENTERED) == said.count(LEFT) == 1
        and said.rindex(CURSOR_SHOWN) > said.rindex(ENTERED)
        and shown.modes() == shown.modes_before
        and b"Traceback" not in said
    )


def once(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command("--once", *arguments), capture_output=True, text=True, timeout=60, check=False
    )


def test_one_picture_is_printed(shared: Fleet) -> None:
    for url in (shared.url, f"{shared.url}/v1/"):
        done = once("--url", url)
        assert (done.returncode, done.stderr) == (0, "")
        assert "● healthy" in done.stdout
        assert sum(" ready " in line for line in done.stdout.splitlines()) == 2
        assert "\x1b" not in done.stdout


def test_where_nobody_answers_it_is_one_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = once("--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"kvmesh: no status of {url}: Connection refused\n"


def test_without_a_terminal_it_says_what_there_is_instead() -> None:
    done = subprocess.run(
        command(), capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 1
    assert "--once" in done.stderr


@pytest.mark.parametrize("how", ["q", "Ctrl-C", "SIGTERM", "SIGHUP"])
def test_it_ends_and_leaves_the_terminal_as_it_was(shared: Fleet, how: str) -> None:
    with terminal(command("--url", shared.url), env=PATHS) as shown:
        shown.wait_for("● healthy")
        assert shown.modes() != shown.modes_before
        shown.press(b"x")
        if how.startswith("SIG"):
            shown.popen.send_signal(signal.Signals[how])
        else:
            shown.press({"q": b"q", "Ctrl-C": b"\x03"}[how])
        assert shown.end() == 0
        wait_until(lambda: left_as_it_was(shown), "the terminal is as it was")


def test_it_takes_another_size(shared: Fleet) -> None:
    with terminal(command("--url", shared.url), columns=120, lines=40, env=PATHS) as shown:
        shown.wait_for("● healthy")
        assert max(map(len, shown.frame())) == 120
        shown.resize(70, 20)
        wait_until(lambda: max(map(len, shown.frame())) == 70, "it is narrower")
        assert len(shown.frame()) <= 21
        shown.wait_for("● healthy")


def test_a_killed_worker_and_a_frontend_started_anew_are_seen(fleet: Fleet) -> None:
    frontend = fleet.frontend()
    with terminal(command("--url", fleet.url), env=PATHS) as shown:
        shown.wait_for("no worker is connected")
        workers = [fleet.worker(*SIM, "--worker-id", f"worker-{name}") for name in "ab"]
        shown.wait_for("worker-a")
        shown.wait_for("● healthy")
        workers[0].kill()
        shown.wait_for("worker-a (demo) left: Its process or its engine died.")
        frontend.kill()
        shown.wait_for("● no news for")
        assert shown.shows("worker-b")
        fleet.frontend()
        shown.wait_for("● healthy")
        wait_until(lambda: not shown.shows("worker-a"), "the new frontend knows one worker")
        assert shown.popen.poll() is None


def test_it_waits_for_a_frontend_that_is_yet_to_come(fleet: Fleet) -> None:
    with terminal(command("--url", fleet.url), env=PATHS) as shown:
        shown.wait_for("no answer from")
        fleet.frontend()
        shown.wait_for("no worker is connected")
        shown.press(b"q")
        assert shown.end() == 0
