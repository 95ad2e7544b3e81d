"""Defines what an exchange knows of the work for it that goes on elsewhere."""

from typing import Protocol


class Abortable(Protocol):
    """An Abortable is work for a request that can be ended before its time."""

    @property
    def model(self) -> str:
        """Returns the name of the model that does it, which may have gone meanwhile."""
        ...

    def abort(self) -> bool:
        """Ends the work with what there is; returns False where nothing can be shown."""
        ...
