"""Large blocks of memory go back to the system as soon as they are free."""

import ctypes
from typing import Final

LARGE_BYTES: Final = 2**20
"""Is the size from which on a block has pages of its own. What a request usually has is smaller,
and fresh pages cost up to a millisecond a megabyte.
"""

KEPT_BYTES: Final = 8 * 2**20
"""Bounds what may lie free at the heap's end, of smaller blocks: what a prompt of 128k tokens takes
on its way, twice. Glibc keeps 128 KiB by itself once it is told what is large, so that such a
prompt had 700 fresh pages, 15 % of what it cost a frontend.
"""

_M_MMAP_THRESHOLD: Final = -3
_M_TRIM_THRESHOLD: Final = -1
"""Are the options' numbers (mallopt(3), malloc.h of glibc)."""


def return_large_blocks() -> None:
    """Has the C library keep no free block of a megabyte or more; does nothing where it is not
    glibc.

    By itself glibc takes the first large block that is freed as a sign that there will be more, and
    from then on has blocks of up to 32 MiB among small ones: 32 bodies of 45 MB at once left 1.4 GB
    behind for good, and each that grew was copied on the way.
    """
    try:
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    except (OSError, AttributeError):
        return
