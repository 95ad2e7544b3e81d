"""A worker's part in the media plane: it fetches what others made of pictures, or hands out what it
made itself.
"""

from collections.abc import Callable, Sequence

from workers.encoding.fetching import Fetching
from workers.engine import EncodingSource, Runs
from workers.mesh.introduction import Door
from workers.mesh.kv_plane import KvSettings
from workers.mesh.transport import Transport


class MediaPart:
    """A MediaPart opens of the media plane what its worker has a use for: mostly nothing.

    Args:
        on_fetched: called whenever `owed` is less.
    Attributes:
        fetching: takes all requests, on their way to the engine.
        door: where others fetch; None where nothing is made for them.
    """

    def __init__(
        self, engine: Runs, transport: Transport, *, on_fetched: Callable[[], None]
    ) -> None:
        self.fetching = Fetching(engine)
        self.door: Door | None = None
        self._source: EncodingSource | None = None
        self._transport = transport
        self._on_fetched = on_fetched

    @property
    def owed(self) -> int:
        """Returns of how many requests others have still to fetch what was made for them."""
        if self._source is None or self.door is None:
            return 0
        return self._source.owed + self.door.being_read

    def fetch(self, *, grids_only: bool) -> None:
        """Has requests fetch what their frontends say others made."""
        self.fetching.plane = self._transport.media_client(self.fetching.on_answer)
        self.fetching.grids_only = grids_only

    def hand_out(
        self, source: EncodingSource, settings: KvSettings, frontends: Sequence[str]
    ) -> None:
        """Opens the door to what an engine makes.

        Raises:
            StartError: the port is taken, or frontends are on other hosts and there is no key.
        """
        source.on_fetched = self._on_fetched
        self._source = source
        self.door = self._transport.media_door(
            source.fetch, settings, frontends=frontends, on_read=self._on_fetched
        )

    def close(self) -> None:
        """Closes all sockets; what waits is given up."""
        self.fetching.close()
        if self.door is not None:
            self.door.close()
