"""A process can have itself ended when its parent ends, however that ends."""

import ctypes
import os
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""Of linux/prctl.h."""

# Looked up at the import, since between fork and exec the dynamic linker's lock may be held by a
# thread that is no more.
_PRCTL: Final = getattr(ctypes.CDLL(None), "prctl", None)


def end_with_parent(parent: int, number: signal.Signals) -> bool:
    """Has the kernel send the calling process a signal when its parent ends (man 2 prctl), where
    the kernel can; returns False where the parent, by its process id, has ended already.

    May be called between fork and exec.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, number)
    return os.getppid() == parent
