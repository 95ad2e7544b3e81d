"""Makes directories for sockets that no other user of this host reaches: one of the user's, and one
of each process in it.
"""

import atexit
import fcntl
import functools
import itertools
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from protocol.process.start_error import StartError

_TEMPORARY_CHARS_MAX: Final = 50
"""Bounds the path of the directory for temporary files, since a socket's path has at most 107
bytes; where it is longer, /tmp is taken.
"""


def _temporary() -> Path:
    directory = tempfile.gettempdir()
    return Path(directory if len(directory) <= _TEMPORARY_CHARS_MAX else "/tmp")  # noqa: S108 - what is made there is checked


OWN_DIRECTORY: Final = _temporary() / f"kvmesh-{os.getuid()}"
"""Is where frontends and workers of one user meet.

Anybody can know its name, and make it first: hence `own_directory`.
"""

OWN_MESH: Final = f"ipc://{OWN_DIRECTORY}/mesh"
"""Is the address of the mesh of one host, unless somebody says otherwise."""

_PREFIX: Final = "of-"
"""Begins the names of the directories of processes."""

_TRIES: Final = 3
"""Bounds how often a new directory is made: somebody may take one for a left one before its process
has locked it.
"""

_LOOKED_AT_MAX: Final = 1_000
"""Bounds how many of other processes' directories are looked at in a start: each costs 30 µs, or
0.4 ms to remove.
"""


def own_directory() -> Path:
    """Returns OWN_DIRECTORY, made if there is none, after a look at whose it is.

    Raises:
        StartError: it cannot be made, or others than this user own it or may enter it.
    """
    try:
        OWN_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
        found = OWN_DIRECTORY.lstat()
    except OSError as error:
        raise StartError(
            f"cannot make the directory {OWN_DIRECTORY} for sockets: {error.strerror}"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StartError(
            f"{OWN_DIRECTORY} is for sockets of this user and must be a directory of theirs "
            "with mode 0700: remove it"
        )
    return OWN_DIRECTORY


@functools.cache
def process_directory() -> Path:
    """Returns a new directory in OWN_DIRECTORY, removed when this process ends, or by the next one
    that makes its own if this one is killed.

    Raises:
        StartError: as `own_directory`.
    """
    _remove_left()
    tries = 0
    while True:
        directory = Path(tempfile.mkdtemp(dir=own_directory(), prefix=f"{_PREFIX}{os.getpid()}-"))
        tries += 1
        # The lock is held until the kernel lets go of it, when this process ends. Where there are
        # no locks, nobody removes anything.
        if _locked(directory) is not None or tries == _TRIES:
            break
    atexit.register(_remove, directory, os.getpid())
    return directory


def _remove_left() -> None:
    """Removes what killed processes left, some of it if there is much."""
    left = own_directory().glob(f"{_PREFIX}*")
    for directory in itertools.islice(left, _LOOKED_AT_MAX):
        lock = _locked(directory)
        if lock is not None:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)


def _locked(directory: Path) -> int | None:
    """Returns a descriptor that says whose the directory is for as long as it is open; None if a
    process that lives has it, or it is gone.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory.lstat()  # whoever had the lock until now may have removed it
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(directory: Path, pid: int) -> None:
    if os.getpid() == pid:  # and not in a child that was forked
        shutil.rmtree(directory, ignore_errors=True)
