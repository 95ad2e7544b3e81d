"""What may be done to an engine while it runs, at the wish of whoever operates it."""

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct


class AdapterLoader(Protocol):
    """An AdapterLoader loads and unloads the LoRA adapters of an engine that takes them while it
    runs.

    Called from the engine's loop, one change at a time.
    """

    def names(self) -> list[str]:
        """Returns the names of the adapters that requests may name."""
        ...

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """Loads an adapter from a directory of this host.

        Raises:
            InvalidRequest: the engine refuses; the message says why.
        """

    async def unload(self, name: str) -> None:
        """Unloads an adapter when no request uses it any more.

        Raises:
            InvalidRequest: the engine refuses; the message says why.
        """


class ChangeFailed(Exception):
    """A ChangeFailed says that an engine failed on a change, of which some may have happened."""


class EngineRoutes(Protocol):
    """An EngineRoutes does to an engine what is asked over the routes of its worker
    (workers.operating.routes).

    Called from the engine's loop, one change at a time.
    """

    @property
    def bodies(self) -> Mapping[str, type[Struct]]:
        """Returns the struct that each route takes, by the route's name; what is not among them
        cannot be asked of this engine.
        """
        ...

    @property
    def weight_version(self) -> str:
        """Returns the name of the weights, as whoever loaded them gave it."""
        ...

    @property
    def loses_weights(self) -> bool:
        """Tells whether weights whose memory is released are not there any more when it is
        resumed.
        """
        ...

    @property
    def running(self) -> int:
        """Returns how many requests the engine has not ended."""
        ...

    def end_all(self, *, lost: bool) -> None:
        """Ends whatever runs, as aborted, or as lost so that frontends have it go on elsewhere."""

    async def flush(self, wait_s: float) -> bool:
        """Empties the cache of each rank as soon as it has nothing to do, which proves that it has
        not; returns False if one has something to do for longer.
        """
        ...

    def check(self, route: str, body: Struct) -> None:
        """Refuses what this engine can never do, before anything is done for it.

        Raises:
            InvalidRequest: it is such a thing; the message says why.
        """
        ...

    async def ask(self, route: str, body: Struct) -> dict[str, Any]:
        """Does what a route says, and returns what is answered.

        Raises:
            InvalidRequest, Conflict: nothing was changed; the message says why.
            ChangeFailed: something may have been.
        """
        ...

    async def restore(self) -> bool:
        """Loads the weights anew that were there before a change that failed; returns False if they
        cannot be had again.
        """
        ...
