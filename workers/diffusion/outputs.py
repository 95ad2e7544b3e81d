"""What was made is kept until it is fetched, and for a while longer, within bounds of bytes, number
and time.
"""

import asyncio
import logging
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from protocol.diffusion import OUTPUT_BYTES_MAX, FetchOutput, Output, OutputChunk
from protocol.errors import EngineFault, Overloaded
from workers.diffusion.generator import Made
from workers.diffusion.kept import Kept, droppable
from workers.diffusion.places import Folder, Place

log = logging.getLogger(__name__)

OUTPUTS_KNOWN_MAX: Final = 10_000
"""Bounds the outputs that are known, at some 500 bytes each in memory: a day's of a fast GPU would
be more, but the bytes of few disks hold so many.
"""

WANTED_S: Final = 5.0
"""Is how long after it was told of, or a piece of it was read, an output counts as being fetched,
and a worker that leaves stays for its sake: who fetches asks for the next piece at once.
"""

PREVIEW_S: Final = 60.0
"""Is how long a preview is kept: it is shown as soon as it is told of, or never."""

_LOT_BYTES: Final = 16

_FOLDERS: Final = {"mp4": "videos"}
"""Are the folders of formats; all others are pictures."""


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """A Keeping says how much of what was made is kept, and how long."""

    bytes_max: int = 4 * 1024**3
    lifetime_s: float = 3_600.0


class Outputs:
    """Outputs keeps pictures and videos in files, of which the oldest are dropped first, and none
    that is being fetched.

    Everything but what is said to block is for the event loop.

    Args:
        folder: an empty directory of this worker's own, removed at the end.
        unix_ms: wall clock.
        place: where what was made lies, and stays unless it is thrown away by name; in that folder
        if not given.
        url: where clients find that place, to which a name is added; empty: through frontends.
        new_lot: draws what nobody guesses of an id, 32 hex digits.
    Attributes:
        tag: what ids begin with (`worker_tag`).
        on_fetched: called whenever `owed` may be less.
    """

    def __init__(
        self,
        folder: Path,
        keeping: Keeping,
        *,
        unix_ms: Callable[[], float],
        place: Place | None = None,
        url: str = "",
        new_lot: Callable[[], str] = lambda: secrets.token_hex(_LOT_BYTES),
    ) -> None:
        self.tag = "0" * 16
        self.on_fetched: Callable[[], None] = lambda: None
        self._folder = folder
        self._keeping = keeping
        self._unix_ms = unix_ms
        self._place = place or Folder(folder)
        self._own = place is None
        self._url = url
        self._new_lot = new_lot
        self._output_bytes_max = (
            min(keeping.bytes_max, OUTPUT_BYTES_MAX) if place is None else OUTPUT_BYTES_MAX
        )
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._size_bytes = 0
        self._chores: set[asyncio.Future[None]] = set()
        """Is what is being stored or removed just now. Bounded by what is kept."""

    def __contains__(self, output_id: str) -> bool:
        """Tells whether an output can be fetched."""
        return output_id in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """Returns how large all that is kept is."""
        return self._size_bytes

    @property
    def expires_unix_s(self) -> int:
        """Returns when what is made now will be thrown away; 0 where it will not."""
        return 0 if self._url else int(self._unix_ms() / 1000 + self._keeping.lifetime_s)

    @property
    def owed(self) -> int:
        """Returns how many outputs are being fetched, or were told of a moment ago."""
        now = asyncio.get_running_loop().time()
        return sum(not kept.fetched and kept.wanted_until > now for kept in self._kept.values())

    async def bench(self) -> Path:
        """Returns a new folder to make something in; `clear` removes it."""
        return Path(await asyncio.to_thread(mkdtemp, dir=self._folder, prefix="making-"))

    def clear(self, bench: Path) -> None:
        """Removes a folder that `bench` gave, with what is left in it."""
        self._do(partial(shutil.rmtree, bench, ignore_errors=True))

    async def keep(
        self, made: Made, *, preview: bool = False, beside: Sequence[Output] = ()
    ) -> Output:
        """Takes a file over that lies in a folder that `bench` gave.

        Args:
            beside: outputs of the same order, none of which may go for the others' sake.
        Raises:
            Overloaded: there is no room but that of what is being fetched.
            EngineFault: it is too large to keep, alone or with those, or could not be stored.
        """
        try:
            size_bytes = (await asyncio.to_thread(made.path.stat)).st_size
        except OSError as error:
            raise EngineFault(f"What was made is not there: {error.strerror}") from error
        output_id = self.tag + self._new_lot()
        name = f"{_FOLDERS.get(made.format, 'images')}/{output_id}.{_ending(made)}"
        output = Output(
            output_id,
            made.format,
            size_bytes,
            made.width,
            made.height,
            made.frames,
            made.fps,
            f"{self._url}/{name}" if self._url else "",
            made.seed,
        )
        self._make_room(size_bytes, sum(each.size_bytes for each in beside))
        self._size_bytes += size_bytes
        putting = self._do(partial(self._place.put, made.path, name))
        try:
            await asyncio.shield(putting)
        except asyncio.CancelledError:
            self._size_bytes -= size_bytes
            putting.add_done_callback(lambda _: self._do(partial(self._place.drop, name)))
            raise
        except Exception as error:  # whatever a storage raises
            self._size_bytes -= size_bytes
            raise EngineFault("What was made could not be stored.") from error
        kept = self._kept[output_id] = Kept(output, name, preview=preview)
        self._expire_in(kept, PREVIEW_S if preview else self._keeping.lifetime_s)
        if preview or not self._url:
            self.want(output_id)
        return output

    def want(self, output_id: str) -> None:
        """Notes that somebody is about to fetch an output."""
        kept, loop = self._kept.get(output_id), asyncio.get_running_loop()
        if kept is not None:
            kept.wanted_until = loop.time() + WANTED_S
            if kept.wanted_timer is not None:
                kept.wanted_timer.cancel()
            kept.wanted_timer = loop.call_later(WANTED_S, self._stop_wanting, kept)

    async def read(self, fetch: FetchOutput) -> OutputChunk:
        """Returns a piece of an output, or that there is none.

        Raises:
            OSError: it cannot be read now.
        """
        kept = self._kept.get(fetch.output_id)
        if kept is None:
            return OutputChunk(fetch.query_id)
        self.want(fetch.output_id)
        size_bytes = min(fetch.size_bytes, kept.output.size_bytes - fetch.offset_bytes)
        try:
            data = await self._read(kept, fetch.offset_bytes, size_bytes)
        except FileNotFoundError:  # dropped meanwhile, or removed by somebody else
            self.drop([fetch.output_id])
            return OutputChunk(fetch.query_id)
        self.want(fetch.output_id)
        if fetch.offset_bytes + len(data) >= kept.output.size_bytes:
            kept.fetched = True
            self.on_fetched()
        return OutputChunk(fetch.query_id, data, kept.output)

    def drop(self, output_ids: Iterable[str], *, everywhere: bool = True) -> None:
        """Throws outputs away.

        Args:
            everywhere: also where they lie in a storage that is not the worker's own.
        """
        for output_id in output_ids:
            kept = self._kept.pop(output_id, None)
            if kept is None:
                continue
            self._size_bytes -= kept.output.size_bytes
            kept.stop_timers()
            if everywhere or self._own:
                self._do(partial(self._place.drop, kept.name))
        self.on_fetched()

    def forget(self) -> None:
        """Has nothing any more; the files stay where they are."""
        for kept in self._kept.values():
            kept.stop_timers()
        self._kept.clear()

    async def close(self) -> None:
        """Forgets everything and removes the folder; what lies elsewhere stays."""
        self.forget()
        while self._chores:
            await asyncio.wait(self._chores)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _stop_wanting(self, kept: Kept) -> None:
        kept.wanted_until = 0.0
        self.on_fetched()

    async def _read(self, kept: Kept, offset_bytes: int, size_bytes: int) -> bytes:
        if size_bytes <= 0:  # of which storages make errors
            return b""
        return await asyncio.to_thread(self._place.read, kept.name, offset_bytes, size_bytes)

    def _make_room(self, size_bytes: int, beside_bytes: int) -> None:
        if size_bytes > self._output_bytes_max:
            raise EngineFault(
                f"What was made has {size_bytes} bytes; of one output "
                f"{self._output_bytes_max} are kept."
            )
        if self._own and beside_bytes + size_bytes > self._keeping.bytes_max:
            raise EngineFault(
                f"What was made has more than the {self._keeping.bytes_max} bytes that are kept."
            )
        for kept in droppable(self._kept.values(), asyncio.get_running_loop().time()):
            if self._has_room(size_bytes):
                return
            self.drop([kept.output.output_id], everywhere=False)
        if not self._has_room(size_bytes):
            raise Overloaded("There is no room for what was made: too much is being fetched.")

    def _has_room(self, size_bytes: int) -> bool:
        """Tells whether so much can be kept besides; a storage has its own bound."""
        fits = not self._own or self._size_bytes + size_bytes <= self._keeping.bytes_max
        return fits and len(self._kept) < OUTPUTS_KNOWN_MAX

    def _expire_in(self, kept: Kept, seconds: float) -> None:
        kept.timer = asyncio.get_running_loop().call_later(seconds, self._expire, kept)

    def _expire(self, kept: Kept) -> None:
        if kept.wanted_until > asyncio.get_running_loop().time():
            self._expire_in(kept, WANTED_S)
        else:
            self.drop([kept.output.output_id], everywhere=False)

    def _do(self, chore: Callable[[], None]) -> "asyncio.Future[None]":
        """Does in a thread what nobody need wait for."""
        future = asyncio.get_running_loop().run_in_executor(None, chore)
        self._chores.add(future)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: "asyncio.Future[None]") -> None:
        self._chores.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            log.warning("what was made could not be stored or removed: %s", error)


def _ending(made: Made) -> str:
    return "jpg" if made.format == "jpeg" else made.format
