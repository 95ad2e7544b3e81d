"""Directories for sockets that no other user of this host reaches: one of the user's, and one of
each process in it.
"""

import atexit
import functools
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

from protocol.process.start_error import StartError

_TEMPORARY_CHARS_MAX: Final = 50
"""A socket's path has at most 107 bytes; where the directory for temporary files is deeper than
this, /tmp is taken.
"""


def _temporary() -> Path:
    directory = tempfile.gettempdir()
    return Path(directory if len(directory) <= _TEMPORARY_CHARS_MAX else "/tmp")  # noqa: S108 - what is made there is checked


OWN_DIRECTORY: Final = _temporary() / f"kvmesh-{os.getuid()}"
"""Where frontends and workers of one user meet.

Anybody can know its name, and make it first: hence `own_directory`.
"""

OWN_MESH: Final = f"ipc://{OWN_DIRECTORY}/mesh"
"""Where the mesh of one host is, unless somebody says otherwise."""


def own_directory() -> Path:
    """OWN_DIRECTORY, made if there is none, after a look at whose it is.

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
    """A new directory in OWN_DIRECTORY, removed when this process ends.

    Raises:
        StartError: as `own_directory`.
    """
    directory = Path(tempfile.mkdtemp(dir=own_directory(), prefix=f"{os.getpid()}-"))
    atexit.register(_remove, directory, os.getpid())
    return directory


def _remove(directory: Path, pid: int) -> None:
    if os.getpid() == pid:  # and not in a child that was forked
        shutil.rmtree(directory, ignore_errors=True)
