"""A process that cannot start, and the exit code that says so."""

from typing import Final

EXIT_CANNOT_START: Final = 3
"""Exit code of a process that StartError ended, told apart from a crash so that a supervisor does
not try again.
"""


class StartError(Exception):
    """A process cannot start. The message is one line, for the person at the terminal."""
