"""Free memory between blocks in use goes back, when the process has grown and not else."""

import subprocess
import sys

import pytest

from protocol.process.free_memory import GROWN_BYTES, FreeMemory

_PROGRAM = """
from protocol.process.free_memory import FreeMemory, resident_bytes
from protocol.process.large_blocks import return_large_blocks

return_large_blocks()
free = FreeMemory()
free.look()
blocks = [bytes([1]) * 300_000 for _ in range(300)]
del blocks[::2]  # each lies between two that stay
before = resident_bytes()
free.look()
print(before - resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives memory back")
def test_what_lies_free_between_blocks_goes_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 100 * 300_000


def test_memory_is_given_back_when_it_has_grown_and_not_else() -> None:
    now, given = 100 * GROWN_BYTES, list[int]()

    def give_back() -> None:
        nonlocal now
        given.append(now)
        now -= GROWN_BYTES // 4

    free = FreeMemory(lambda: now, give_back)
    free.look()
    now += GROWN_BYTES - 1
    free.look()
    assert not given
    now += 1
    free.look()
    assert given == [101 * GROWN_BYTES]
    now -= 50 * GROWN_BYTES
    free.look()  # it has less now, from which growth is counted
    now += GROWN_BYTES
    free.look()
    free.look()
    assert len(given) == 2
