"""Large blocks go back to the system, in a process of its own since an allocator remembers."""

import subprocess
import sys

import pytest

from protocol.process.large_blocks import KEPT_BYTES

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


REUSE = """
import resource
from pathlib import Path
from protocol.process.large_blocks import return_large_blocks

return_large_blocks()

def take(count):
    return [b"x" * 500_000 for _ in range(count)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def resident_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

take(6)
before = faults()
for _ in range(20):
    take(6)
print(faults() - before)
before = resident_kib()
take(200)
print(resident_kib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_smaller_ones_are_kept_for_the_next_request_and_no_more_than_that() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", REUSE], capture_output=True, text=True, check=True
    )
    faults, kept_kib = map(int, shown.stdout.split())
    assert faults < 2_000, "20 times three megabytes have 15,000 pages"
    assert kept_kib * 1024 <= KEPT_BYTES
