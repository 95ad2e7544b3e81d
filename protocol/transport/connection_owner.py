"""Whoever dials or binds owns connections, and is told what becomes of them."""

from typing import Protocol


class Peer(Protocol):
    """A Peer is the other end of a connection, to whom messages may be sent."""

    identity: bytes


class Owner(Protocol):
    """An Owner has connections, and what they bring."""

    def opened(self, connection: Peer) -> None:
        """Notes that messages can be sent."""
        ...

    def spoke(self, connection: Peer) -> None:
        """Notes that the first message has come."""
        ...

    def take(self, frames: list[bytes], /) -> None:
        """Takes a message."""
        ...

    def has_room(self, connection: Peer) -> None:
        """Notes that there is room again for messages, of which some found none."""
        ...

    def lost(self, connection: Peer, failure: int | None) -> None:
        """Notes that the connection has ended.

        Args:
            failure: ZMQ's number of why somebody never became a peer; None where nothing was wrong.
        """
        ...
