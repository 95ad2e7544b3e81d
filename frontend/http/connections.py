"""Holds what the connections of one server share."""

from collections.abc import Callable

from uvicorn.server import ServerState


class Connections(ServerState):
    """Connections holds what the connections of one server share.

    Attributes:
        closing: every answer that begins is the last of its connection.
        on_slow_reader: called when a client is cut off since it does not read.
        on_empty: called when the last connection is gone.
        on_connection: called when one begins.
        on_gone: called when one has ended.
    """

    def __init__(self, on_slow_reader: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.closing = False
        self.on_slow_reader = on_slow_reader
        self.on_empty: Callable[[], None] = lambda: None
        self.on_connection: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] | None = None
