"""A worker that encodes pictures asks this of what encodes them."""

from collections.abc import Sequence
from typing import Protocol

from protocol.media import Encoding, PromptMedia
from protocol.replies import Failed
from workers.engine import EngineFacts, OnDeath


class Encoder(Protocol):
    """An Encoder makes encodings of pictures, one batch after the other."""

    async def start(self, on_death: OnDeath) -> EngineFacts:
        """Loads what it needs; returns when pictures can be encoded.

        The capacity says how many pictures go into a batch (`requests_running_max`), and the card
        names the encoder (`media.encoder`). The event loop may be blocked meanwhile.

        Raises:
            StartError: it cannot start; the message says why in one line.
        """
        ...

    async def encode(self, pictures: Sequence[PromptMedia]) -> Sequence[Encoding | Failed]:
        """Returns what was made of each picture, or why nothing was: a picture that cannot be read
        spoils none of the others.

        Called with one batch at a time. The event loop goes on meanwhile. What is raised fails the
        whole batch.
        """
        ...

    async def stop(self) -> None:
        """Ends it and all its processes, now; more than once."""
