"""The LoRA adapters of the sim engine are names, which keep their requests' blocks apart as a real
engine's do. What they say is the same.
"""


class SimAdapters:
    """SimAdapters is the AdapterLoader (workers.engine) of the sim engine."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def names(self) -> list[str]:
        """Returns the names of the adapters that requests may name."""
        return list(self._names)

    async def load(self, name: str, path: str, *, pinned: bool) -> None:
        """Offers an adapter under this name; its files are not read."""
        del path, pinned
        self._names.add(name)

    async def unload(self, name: str) -> None:
        """Forgets an adapter's name. Requests that run under it are none of a simulation's
        concern.
        """
        self._names.discard(name)
