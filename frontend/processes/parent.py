"""A parent starts frontend processes behind one HTTP port, starts again what dies, and has all
leave as one.
"""

import asyncio
import logging
import signal
from typing import Final

from frontend.http.listener import listen
from frontend.processes.child import Child
from frontend.processes.hub import Hub
from frontend.processes.messages import Begin, CannotStart, Leave, Serving, ToParent
from frontend.processes.standing import Standing
from frontend.settings import FrontendSettings
from protocol.process.open_files import raise_open_files
from protocol.process.start_error import StartError

PAUSE_S: Final = 0.5
"""Is the pause before a process is started again that has died; doubled with each death until one
serves for STEADY_S.
"""

PAUSE_S_MAX: Final = 30.0
"""Bounds that pause: a start costs some two seconds of a core, which the others lack."""

STEADY_S: Final = 60.0

FAILURES_MAX: Final = 5
"""Bounds how often in a row a process may end without serving while no other one serves; then the
parent ends, so that whoever watches it knows.
"""

log = logging.getLogger(__name__)


class Parent:
    """A Parent runs the frontend processes of one host until it is told to leave."""

    def __init__(self, settings: FrontendSettings) -> None:
        count = settings.frontend_processes
        self._settings = settings
        self._listener = listen(settings.http_host, settings.http_port)
        self._standing_descriptor = Standing.made(count)
        self._standing = Standing(self._standing_descriptor, count)
        self._children: dict[int, Child] = {}
        self._hub = Hub(self._children.values)
        self._loop = asyncio.get_running_loop()
        self._leaves = 0
        """Counts the signals to stop."""
        self._leaving = asyncio.Event()
        self._failure = ""
        """Says why the first start of a process failed; all end then."""

    async def run(self) -> int:
        """Runs the processes; returns the exit code: 0 after a drain of all.

        Raises:
            StartError: one of them cannot start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal)
        count = self._settings.frontend_processes
        codes = await asyncio.gather(*(self._keep(number) for number in range(count)))
        if self._failure:
            raise StartError(self._failure)
        return max(map(abs, codes))

    async def _keep(self, number: int) -> int:
        """Runs the process of a number, again and again, until all leave; returns the exit code of
        the one that was told to, 0 where none ran then.
        """
        pause_s, served_once, failures = PAUSE_S, False, 0
        while True:
            begun_at = self._loop.time()
            try:
                child, code = await self._run_one(number)
                served = child.served
                why = child.why or f"process {number + 1} ended with exit code {code}"
            except OSError as error:  # the host has no process or descriptor left now
                served, code = False, 1
                why = f"process {number + 1} cannot be started: {error.strerror}"
            if self._leaves:
                return code
            served_once = served_once or served
            failures = 0 if served else failures + 1
            others_serve = any(other.serves for other in self._children.values())
            if not served_once or (failures >= FAILURES_MAX and not others_serve):
                self._give_up(why)
                return code
            if served and self._loop.time() - begun_at > STEADY_S:
                pause_s = PAUSE_S
            log.error("%s; starting it again in %g s", why, pause_s)
            if await self._left_within(pause_s):
                return 0
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def _run_one(self, number: int) -> tuple[Child, int]:
        begin = Begin(self._settings, number, self._settings.frontend_processes)
        child = await Child.start(begin, self._listener, self._standing_descriptor)
        self._children[number] = child
        for _ in range(self._leaves):  # said while it started
            child.send(Leave())
        code = await child.ended(self._on_message)
        self._standing.leave(number)
        del self._children[number]
        self._hub.ended(child)
        return child, code

    async def _left_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        except TimeoutError:
            return False
        return True

    def _on_message(self, child: Child, message: ToParent) -> None:
        match message:
            case Serving():
                child.serves = child.served = True
                log.info("process %d of %d serves", child.number + 1, self._standing.count)
            case CannotStart(reason):
                child.why = reason
            case _:
                self._hub.take(child, message)

    def _on_signal(self) -> None:
        self._leaves += 1
        self._leaving.set()
        for child in self._children.values():
            child.send(Leave())

    def _give_up(self, why: str) -> None:
        """Ends all since one cannot start."""
        self._failure = self._failure or why
        self._leaves = max(1, self._leaves)
        self._leaving.set()
        for child in self._children.values():
            child.kill()


async def supervise(settings: FrontendSettings) -> int:
    """Runs frontend processes until SIGTERM or SIGINT and until the drain of all is over; a second
    signal hurries them. Returns the exit code.

    Raises:
        StartError: the HTTP port is taken, or a process cannot start.
    """
    raise_open_files()
    return await Parent(settings).run()
