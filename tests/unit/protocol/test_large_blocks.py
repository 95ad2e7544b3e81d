"""Large blocks go back to the system, in a process of its own since an allocator remembers."""

import subprocess
import sys

import pytest

SHOW = """
import sys
from pathlib import Path
from protocol.process.large_blocks import return_large_blocks

if sys.argv[1] == "return":
    return_large_blocks()

def resident_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024

bytes(30 * 2**20)  # glibc takes it for a sign that there will be more
before = resident_mib()
held = []
for _ in range(8):
    held.append(b"x" * (24 * 2**20))
    held.append(b"y" * 2**10)  # which lies behind it, and stays
large = held[::2]
del held[::2], large
print(resident_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
@pytest.mark.parametrize("told", [True, False])
def test_nothing_is_kept_of_large_blocks(told: bool) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", SHOW, "return" if told else "keep"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (int(shown.stdout) < 24) is told, shown.stdout
