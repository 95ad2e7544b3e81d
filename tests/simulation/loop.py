"""An event loop on virtual time, and processes that can be stopped and killed on it.

Whatever asyncio does, timers, tasks, timeouts, works as on any loop, but nobody waits: when nothing
is left to do at this moment, the clock goes to the next timer. So hours pass in milliseconds, and
the same start gives the same run.
"""

import asyncio
import heapq
import socket
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from math import inf
from typing import Any, Final

BEGIN_S: Final = 1_000.0
"""The clock's first reading; a real one is never near zero either."""

_UNWINDS_MAX: Final = 10
"""Times that a coroutine may await while it is unwound."""

_TURNS_MAX: Final = 100_000
"""Loop turns at one moment, after which it will not end any more."""


class Stalled(Exception):
    """Nothing will ever happen again though somebody waits, or so much happens that time stands
    still.
    """


class ProcessEnded(BaseException):
    """Unwinds the stack of a process that killed itself."""


class Process:
    """What SIGKILL and SIGSTOP hit as a whole: every callback, timer and task that was begun within
    its context.

    Attributes:
        dead: none of its callbacks runs any more.
        stopped: they wait, and timers that become due are late when it is woken.
        frozen_s: how long it has been stopped in all.
    """

    def __init__(self, name: str, loop: "VirtualLoop") -> None:
        self.name = name
        self.dead = False
        self.stopped = False
        self.frozen_s = 0.0
        self.held: list[asyncio.Handle] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.context: Context = copy_context()
        self.context.run(_process.set, self)
        self._loop = loop
        self.stopped_at = 0.0
        self.woken_at = 0.0

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a task in it."""
        return self._loop.create_task(work, context=self.context.copy())

    def stop(self) -> None:
        """SIGSTOP."""
        self.stopped, self.stopped_at = True, self._loop.time()

    def wake(self) -> None:
        """SIGCONT."""
        if self.stopped and not self.dead:
            self.stopped, self.woken_at = False, self._loop.time()
            self.frozen_s += self._loop.time() - self.stopped_at
            self._loop.resume(self.held)
            self.held = []

    def kill(self) -> None:
        """SIGKILL."""
        self.dead = True
        self.held.clear()
        while self.tasks:
            task = self.tasks.pop()
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro(), self.context)


def _close(work: Any, context: Context) -> None:
    """Unwind a coroutine, which the garbage collector would do otherwise, at a moment that is not
    the seed's to choose. One that awaits while it is unwound is told again.
    """
    for _ in range(_UNWINDS_MAX):
        try:
            context.copy().run(work.close)
        except RuntimeError:  # it awaited
            continue
        except ValueError:  # it is this one that runs now
            return
        else:
            return


_process: ContextVar[Process | None] = ContextVar("process", default=None)


def process_of(handle: asyncio.Handle) -> Process | None:
    """The process that a callback belongs to."""
    context: Context = handle._context  # type: ignore[attr-defined]
    process: Process | None = context.get(_process)
    return process


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in order of their time.

    Args:
        end_s: virtual seconds after which `run_until_complete` raises Stalled.
    """

    _ready: Any

    def __init__(self, *, end_s: float = inf) -> None:
        super().__init__()
        self._now = BEGIN_S
        self._end = BEGIN_S + end_s
        self._turns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap; of one moment, who asked first is first."""
        self._timers_set = 0
        self.hosts: dict[str, list[str]] = {}
        """What DNS knows: the addresses behind a name."""
        self.dns_answers = True

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, without what it checks in debug mode."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's, which compares handles with each other in Python."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_set += 1
        heapq.heappush(self._timers, (when, self._timers_set, timer))
        return timer

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        """As asyncio's; the process that it belongs to knows of it."""
        context = options.get("context")
        process = context.get(_process) if context is not None else _process.get()
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        if process is not None:
            process.tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """There are no threads: done when this returns."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
            future.set_exception(error)
        return future

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:  # type: ignore[override]
        """What `hosts` says.

        Raises:
            socket.gaierror: nothing, or DNS does not answer.
        """
        if not (self.dns_answers and self.hosts.get(host)):
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, 0, 0, "", (address, port)) for address in self.hosts[host]]

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Run callbacks that were held back, before those that become due."""
        self._ready.extend(handles)

    def left(self) -> list[asyncio.Handle]:
        """Callbacks that would still run."""
        handles: list[asyncio.Handle] = [*(timer for _, _, timer in self._timers), *self._ready]
        return [
            handle
            for handle in handles
            if not handle.cancelled() and not ((process := process_of(handle)) and process.dead)
        ]

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        while timers and timers[0][2]._cancelled:  # type: ignore[attr-defined]
            heapq.heappop(timers)
        self._turns += 1
        if not ready:
            self._advance()
        elif self._turns > _TURNS_MAX:
            raise Stalled("time stands still")
        now = self._now
        while timers and timers[0][0] <= now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_process)
            if process is None or not (process.dead or process.stopped):
                handle._run()
            elif not process.dead:
                process.held.append(handle)

    def _advance(self) -> None:
        if not self._timers:
            raise Stalled("nothing is left to do")
        when = self._timers[0][0]
        if when > self._end:
            raise Stalled("it takes too long")
        self._now = max(self._now, when)
        self._turns = 0

    def _process_events(self, event_list: object) -> None:
        """No descriptors are watched."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""
