"""What a simulated engine asks about requests that run in two legs."""

from collections.abc import Sequence
from typing import Protocol

from protocol.disaggregation import BootstrapServer
from protocol.generation import Generate
from protocol.replies import Delta
from workers.sim.handover.ways import Meetings


class Legs(Protocol):
    """Legs are the requests of an engine that runs one leg of each.

    Attributes:
        server: where other engines meet this one, if they do.
        meetings: the ways to them, to be closed by whoever closes the legs, behind these.
    """

    server: BootstrapServer | None
    meetings: Meetings

    def take(self, request: Generate) -> bool:
        """Tells whether the request is kept here for now, and not to be run yet."""
        ...

    def expects(self, request_id: str) -> bool:
        """Tells whether the request's prompt is computed elsewhere."""
        ...

    def told(self, deltas: Sequence[Delta]) -> Sequence[Delta]:
        """Returns the deltas that may go out now."""
        ...

    def aborted(self, request_id: str) -> bool:
        """Tells whether the request was kept here, and is not any more."""
        ...

    def close(self) -> list[str]:
        """Returns the ids of all that was kept here, and closes all ways."""
        ...
