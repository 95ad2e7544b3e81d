"""In the process of a rank, each step of what is made passes here: it is told to the worker, and
may be the last.
"""

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from workers.sglang.diffusion.mark import Mark
from workers.sglang.diffusion.messages import MARK_FILE, STEPS_SOCKET, Stepped, Told, encode_step

EXTRA: Final = "kvmesh"
"""Is the key of `Told` in what SGLang's requests have besides."""


PREVIEW_S_MAX: Final = 1.0
"""A step that shows something waits so many seconds for room among those that the worker has not
read yet. Others are told at once or not at all: the next one says more.
"""


class OrderLeft(Exception):  # no more is wrong than that
    """An OrderLeft ends the making of what nobody waits for any more."""


class Steps:
    """The Steps of a rank know what is made, and count.

    Args:
        directory: of the generator's processes.
        rank: of this process.
    """

    def __init__(self, directory: Path, rank: int) -> None:
        self._mark = Mark(directory / MARK_FILE)
        self._leads = rank == 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if self._leads:
            self._socket.connect(str(directory / STEPS_SOCKET))
        self.told: Told | None = None
        """Is about what is made now; None where nobody asked for it, as when SGLang warms up."""
        self.preview: Any = None
        """Is the file that shows what the step has made of the output; None for most steps."""
        self._bars = 0
        """Counts the steps of loops that have ended, of this output."""
        self._step = 0
        self._number = 0

    def begin(self, told: Told | None) -> None:
        """Begins an output, or what none is."""
        self.told, self.preview = told, None
        self._bars = 0
        if told is not None and told.number != self._number:
            self._number, self._step = told.number, 0

    def loop(self, total: int) -> None:
        """Ends a loop of so many steps."""
        self._bars += total

    def passed(self, done: int, total: int) -> None:
        """Notes a step, the one with the number `done` in a loop of so many.

        Raises:
            OrderLeft: what is made is not wanted any more.
        """
        told = self.told
        if told is None:
            return
        self._step += 1
        preview, self.preview = self.preview, None
        if self._leads:
            self._socket.settimeout(0.0 if preview is None else PREVIEW_S_MAX)
            # Where the worker does not read them, nobody needs to know.
            with suppress(OSError):
                self._socket.send(
                    encode_step(
                        Stepped(
                            told.number, told.index, self._bars + done, self._bars + total, preview
                        )
                    )
                )
            leaves = self._mark.decide(told.number, self._step)
        else:
            leaves = self._mark.decided(told.number, self._step)
        if leaves:
            raise OrderLeft("the order was left")


class StepBar(tqdm):
    """A StepBar counts steps in place of the bar that SGLang and diffusers show at a terminal."""

    def __init__(
        self, steps: Steps, iterable: Iterable[Any] | None = None, total: int | None = None
    ) -> None:
        super().__init__(iterable=iterable, total=total, disable=True)
        self._steps = steps
        self._done = 0

    def update(self, n: float | None = 1) -> bool | None:
        self._advance(int(n or 0))
        return None

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            yield each
            self._advance(1)
        self._steps.loop(int(self.total or 0))

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self._steps.loop(int(self.total or 0))

    def _advance(self, count: int) -> None:
        self._done += count
        total = int(self.total or 0)
        self._steps.passed(min(self._done, total) if total else self._done, total or self._done)
