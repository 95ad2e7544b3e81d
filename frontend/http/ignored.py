"""Notes what of a request is left aside: it is taken, named in the answer's header
x-kvmesh-ignored, and logged once.
"""

import logging
import re
from typing import Final

from frontend.settings import UnknownFields
from protocol.errors import UnsupportedParameter

log = logging.getLogger(__name__)

HEADER: Final = b"x-kvmesh-ignored"

NAMES_MAX: Final = 32
NAME_CHARS_MAX: Final = 64
"""Bounds, with NAMES_MAX, the names of one request: a header of at most 2 KiB, which every proxy
lets pass.
"""

LOGGED_MAX: Final = 256
"""Bounds the names that a process logs: clients can make up any number of them."""

_UNPRINTABLE: Final = re.compile(r"[^\w.\-]", re.ASCII)


class Ignored:
    """An Ignored collects the names of one request's fields, values and items that have no effect.

    With "refuse" there are none: each is the client's error.
    """

    __slots__ = ("names", "refuses")

    def __init__(self, unknown_fields: UnknownFields) -> None:
        self.refuses = unknown_fields == "refuse"
        self.names: tuple[str, ...] = ()
        """Lists the names, printable, without spaces or commas, in order of their first use."""

    def add(self, name: str, why: str, *, param: str | None = None) -> None:
        """Leaves a field, value or item aside.

        Args:
            name: path of the field, without indexes.
            why: it has no effect; told where it is refused.
            param: its path with indexes; the name if None.
        Raises:
            UnsupportedParameter: nothing may be ignored.
        """
        if self.refuses:
            raise UnsupportedParameter(
                f"{(param or name)[:NAME_CHARS_MAX]} is not supported: {why}.", param=param or name
            )
        shown = _UNPRINTABLE.sub("_", name[:NAME_CHARS_MAX])
        if shown not in self.names and len(self.names) < NAMES_MAX:
            self.names = (*self.names, shown)

    @property
    def header(self) -> tuple[bytes, bytes]:
        """Returns the header that tells the names."""
        return HEADER, ", ".join(self.names).encode()


REFUSING: Final = Ignored("refuse")
"""Takes nothing, so it has no state, and all requests may share it."""


class IgnoredLog:
    """An IgnoredLog logs each ignored name once."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def note(self, ignored: Ignored, path: str) -> None:
        """Logs what was not logged yet of a request to `path`."""
        for name in ignored.names:
            if name not in self._logged and len(self._logged) < LOGGED_MAX:
                self._logged.add(name)
                log.info(
                    "%s: %s is ignored (clients see it in the header %s; told once)",
                    path,
                    name,
                    HEADER.decode(),
                )
