"""A program that answers lines: asked, ended by the end of its input, or by force."""

import signal
import sys
from pathlib import Path

import pytest

from starter.responder import Responder

ECHO = "import sys\nfor line in sys.stdin: print(line.upper().strip(), flush=True)"


def test_a_line_for_a_line_until_its_input_ends() -> None:
    with Responder([sys.executable, "-c", ECHO]) as responder:
        assert [responder.ask(word) for word in ("one", "two")] == ["ONE", "TWO"]
    assert responder.popen.returncode == 0


def test_one_that_ended_is_told_with_its_log(tmp_path: Path) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        Responder(broken, log=tmp_path / "log") as responder,
        pytest.raises(RuntimeError, match=r"(?s)ended.*no such model"),
    ):
        responder.ask("hello")


def test_one_that_does_not_end_with_its_input_is_killed() -> None:
    responder = Responder([sys.executable, "-c", "import signal; signal.pause()"])
    responder.close(wait_s_max=0.1)
    assert responder.popen.returncode == -signal.SIGKILL
