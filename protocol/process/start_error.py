"""Defines the error of a process that cannot start, and the exit code that says so."""

from typing import Final

EXIT_CANNOT_START: Final = 3
"""Is the exit code of a process that StartError ended, told apart from a crash so that a supervisor
does not try again.
"""


class StartError(Exception):
    """A StartError says why a process cannot start, in one line for the person at the terminal."""
