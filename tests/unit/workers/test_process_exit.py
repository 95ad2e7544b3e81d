"""The quick way out."""

import subprocess
import sys

_CODE = """
import atexit, threading
from workers.process.exit import leave_process
atexit.register(print, "registered")
threading.Thread(target=threading.Event().wait).start()  # an ordinary end would wait for it
print("unflushed", end=" ")
leave_process(7)
"""


def test_what_is_registered_runs_what_is_written_leaves_and_nothing_is_waited_for() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "unflushed registered\n", "")
