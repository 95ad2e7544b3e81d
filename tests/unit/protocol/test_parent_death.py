"""A process ends with its parent, or learns that it is too late for that."""

import os
import signal
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[3]

_PARENT = """
import os, signal
from protocol.process.parent_death import end_with_parent

parent = os.getpid()
told, tell = os.pipe()
if os.fork() == 0:
    os.write(tell, b"%d" % end_with_parent(parent, signal.SIGKILL))
    signal.pause()
assert os.read(told, 1) == b"1"
os.kill(parent, signal.SIGKILL)
"""


def test_a_child_is_killed_when_its_parent_is() -> None:
    """Its end of stdout is closed only when both are gone."""
    ended = subprocess.run(
        [sys.executable, "-c", _PARENT], check=False, cwd=_ROOT, capture_output=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGKILL, b"", b"")


def test_whose_parent_is_gone_is_told() -> None:
    code = (
        "import os, signal; from protocol.process.parent_death import end_with_parent; "
        f"print(end_with_parent({os.getpid()}, signal.SIGTERM), end_with_parent(0, signal.SIGTERM))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, check=True)
    assert told.stdout.split() == [b"True", b"False"]
