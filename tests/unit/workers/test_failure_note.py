"""The first process of an engine that fails tells the worker why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from workers.process.failure_note import NOTE_CHARS_MAX, FailureNote, leave_failure_note, one_line

FAIL = """
import subprocess, sys
from workers.process.failure_note import leave_failure_note
if len(sys.argv) > 2:  # what a grandchild fails of
    program = open("/proc/self/cmdline").read().split("\\0")[2]
    subprocess.run([sys.executable, "-c", program, sys.argv[2]], check=True)
leave_failure_note(KeyError(sys.argv[1]))
"""


def _fail(*words: str) -> None:
    subprocess.run([sys.executable, "-c", FAIL, *words], check=True, cwd=Path(__file__).parents[3])


def test_the_first_failure_of_any_process_below_is_kept_and_in_one_line() -> None:
    note = FailureNote()
    assert note.read() == ""
    _fail("it fails since the other did", "no\n  weights")
    assert note.read() == "KeyError: 'no\\n weights'"


def test_without_a_worker_nothing_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/proc/1/fd/999999", "/nowhere"):
        monkeypatch.setenv("_KVMESH_FAILURE_NOTE", path)
        leave_failure_note(ValueError("lost"))
    monkeypatch.delenv("_KVMESH_FAILURE_NOTE")
    leave_failure_note(ValueError("lost"))


def test_a_long_error_keeps_its_beginning_and_what_it_says_to_do_at_its_end() -> None:
    text = (
        "The repository has custom code.\n" + "x" * 10_000 + "\nPlease pass trust_remote_code=True."
    )
    line = one_line(ValueError(text))
    assert line.startswith("The repository has custom code. x")
    assert line.endswith("Please pass trust_remote_code=True.")
    assert len(line) <= NOTE_CHARS_MAX + 3
    assert one_line(ValueError(" \n ")) == "ValueError"


def test_a_worker_leaves_nothing_on_the_disk() -> None:
    FailureNote()
    assert os.environ["_KVMESH_FAILURE_NOTE"].startswith(f"/proc/{os.getpid()}/fd/")
