"""A worker leaves because a signal asked it to, because it was told twice, or because its engine
died.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

EXIT_ENGINE_DIED: Final = 4
"""A worker whose engine died ends with this exit code: a supervisor should start another, unlike
after EXIT_CANNOT_START.
"""

_EXIT_BY_SIGNAL: Final = 128
"""A shell's exit code for a process that a signal ended is this plus the signal's number."""


@dataclass(frozen=True, kw_only=True)
class DrainLimits:
    """DrainLimits say how many seconds a leaving worker waits for what runs, and how many it still
    takes requests (the settings graceful_shutdown_timeout_secs and
    graceful_shutdown_grace_period_secs).
    """

    timeout_s: float
    grace_s: float = 0.0


class Departure:
    """A Departure decides when and how a worker leaves. The first signal asks for it, a second one
    leaves no time.

    Attributes:
        death: why the engine died, in one line; empty while it lives.
        urgent: whether to leave without waiting for anything.
    """

    def __init__(self, limits: DrainLimits) -> None:
        self.death = ""
        self.urgent = False
        self._limits = limits
        self._signal = 0
        self._changed = asyncio.Event()

    @property
    def exit_code(self) -> int:
        """Returns what the process is to end with."""
        if self.death:
            return EXIT_ENGINE_DIED
        return _EXIT_BY_SIGNAL + self._signal if self.urgent else 0

    @property
    def hasty(self) -> bool:
        """Tells whether nothing is worth waiting for: the engine is dead, or a second signal
        came.
        """
        return self.urgent or bool(self.death)

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes the signals that ask for an end.

        A third one finds the kernel's own handlers, which leave no doubt.
        """
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal, loop, number)

    def note_signal(self, number: int) -> None:
        """Notes a signal, which asks for the end, now if it is not the first."""
        if self._signal:
            self.urgent = True
        self._signal = number
        self._changed.set()

    def note_death(self, reason: str) -> None:
        """Notes that the engine died.

        While the worker leaves in a hurry anyway it is killed, which is no death.
        """
        if not self.urgent:
            self.death = reason
        self._changed.set()

    def note_idle(self) -> None:
        """Notes that the last request has ended."""
        self._changed.set()

    async def asked(self) -> None:
        """Waits for the first signal, or the engine's death."""
        while not (self._signal or self.death):
            await self._change(None)

    async def grace_over(self) -> None:
        """Waits while frontends may still send what they had routed before they knew."""
        ends_at = asyncio.get_running_loop().time() + self._limits.grace_s
        while not self.hasty and (left_s := ends_at - asyncio.get_running_loop().time()) > 0:
            await self._change(left_s)

    async def drained(self, running: Callable[[], int]) -> None:
        """Waits until nothing runs any more, but no longer than the limit nor than there is
        time.
        """
        ends_at = asyncio.get_running_loop().time() + self._limits.timeout_s
        while (
            running()
            and not self.hasty
            and (left_s := ends_at - asyncio.get_running_loop().time()) > 0
        ):
            await self._change(left_s)
        if running():
            log.warning("leaving with %d requests unfinished", running())

    async def hurried(self) -> None:
        """Waits until there is no time for anything any more."""
        while not self.hasty:
            await self._change(None)

    async def _change(self, timeout_s: float | None) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _on_signal(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self.note_signal(number)
        if self.urgent:
            for each in STOP_SIGNALS:
                loop.remove_signal_handler(each)
