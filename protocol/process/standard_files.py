"""Sees to it that descriptors 0 to 2 are those that everybody takes them for."""

import os
from typing import Final

_STDERR: Final = 2


def open_standard_files() -> None:
    """Opens /dev/null for each of stdin, stdout and stderr that whoever started the process closed.

    A socket would get the number of a closed one, and libuv ends the process where it is to close a
    socket of such a number.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - it has no name
    os.close(descriptor)
