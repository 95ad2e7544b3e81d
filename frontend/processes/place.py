"""What one of several frontend processes was given by its parent."""

from collections.abc import Callable
from dataclasses import dataclass
from socket import socket

from frontend.processes.accepting import Accepting
from frontend.processes.link import Link
from frontend.processes.standing import Standing


@dataclass(frozen=True, kw_only=True)
class Place:
    """A Place is one process's among the frontends of a port.

    Attributes:
        number: from 0; workers know the address of the first, which tells them of the others.
        listener: that all of them listen on.
    """

    number: int
    count: int
    listener: socket
    standing: Standing
    link: Link

    def accepting(self, models: Callable[[], int]) -> Accepting:
        """Returns what takes connections in turns with the siblings.

        Args:
            models: tells how many models can be served here.
        """
        return Accepting(self.listener, self.standing, self.number, models)

    @property
    def siblings_told(self) -> int:
        """Returns of how many siblings a worker is told here."""
        return 0 if self.number else self.count - 1
