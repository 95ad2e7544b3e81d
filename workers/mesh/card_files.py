"""A model's files are sent piece by piece to frontends that lack them."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from protocol.limits import FILE_CHUNK_BYTES
from protocol.replies import FileChunk
from workers.mesh.frontend_link import FrontendLink

log = logging.getLogger(__name__)

FILES_SENT_MAX: Final = 16
"""At most this many model files are under way to frontends at once, each in memory as a whole; a
frontend asks for one after the other.
"""


class CardFiles:
    """CardFiles sends the files that a model card names to frontends that ask for them.

    Args:
        paths: where each is, by its SHA-256 in hex.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = paths
        self._sending: set[asyncio.Task[None]] = set()

    def send(self, link: FrontendLink, sha256: str) -> None:
        """Begins to send a file; what is not ours, or one too many, is not answered."""
        path = self._paths.get(sha256)
        if path is None or len(self._sending) >= FILES_SENT_MAX:
            log.warning("frontend %s asked for a file that is not sent", link.address)
            return
        task = asyncio.get_running_loop().create_task(_send_chunks(link, sha256, path))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def close(self) -> None:
        """Gives up the files that are under way."""
        for task in self._sending:
            task.cancel()


async def _send_chunks(link: FrontendLink, sha256: str, path: Path) -> None:
    """Sends a file piece by piece, so that heartbeats and tokens pass between them."""
    content = await asyncio.to_thread(path.read_bytes)
    for offset in range(0, max(len(content), 1), FILE_CHUNK_BYTES):
        if not link.send(
            FileChunk(sha256, offset, len(content), content[offset : offset + FILE_CHUNK_BYTES])
        ):
            return  # nobody there, or its queue is full: the frontend's deadline ends the fetch
        await asyncio.sleep(0)
