"""Threads take memory from one place once that is asked for."""

import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, sys, threading
from protocol.process.single_arena import share_one_arena

if sys.argv[1] == "one":
    share_one_arena()
together = threading.Barrier(4)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def take():
    libc.malloc(1_000)
    together.wait()

threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has arenas")
@pytest.mark.parametrize("arenas", ["one", "many"])
def test_threads_have_no_heaps_of_their_own(arenas: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, arenas], capture_output=True, text=True, check=True
    )
    assert (done.stdout.count("<heap nr=") == 1) == (arenas == "one")
