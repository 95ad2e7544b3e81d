"""The processes of a started SGLang engine are its schedulers and a data-parallel controller.

Watched, waited for, killed.
"""

import asyncio
import logging
import math
import multiprocessing
import os
import signal
import time
from typing import Any, Final

import psutil

from protocol.limits import MESSAGE_CHARS_MAX
from workers.engine import OnDeath
from workers.process.failure_note import FailureNote
from workers.process.watch import ProcessWatch, in_words
from workers.sglang.metrics import count_in_own_files

log = logging.getLogger(__name__)

_REAPED_S_MAX: Final = 5.0
"""A killed process is waited for at most this many seconds: it is gone at once, unless the kernel
is still freeing its GPU memory.
"""


_OFF: Final = (
    "SGLANG_BLOCK_NONZERO_RANK_CHILDREN",  # or Engine() never returns where no requests come
    # 65 s before a dead engine's process ends, and somebody waits to restart it
    "SGLANG_PYSPY_DUMP_BEFORE_CRASH",
    "SGLANG_CUDA_COREDUMP_BEFORE_CRASH",
)

_SCHEDULER_EXIT_S: Final = 5.0
"""Schedulers have this many seconds to let go of their memory before they are killed.

SGLang itself waits 15 s, half of what Kubernetes gives the worker.
"""

_WAKE_UP_S: Final = 0.05
"""An idle scheduler is woken after this many seconds: it reads that it should end, and goes to
sleep for a second before it looks.

Another message, which must not arrive together with the first, wakes it.
"""


def set_process_defaults(*, counts: bool) -> None:
    """Says in the environment how SGLang's processes end, where the user has not, and where they
    count if they do.
    """
    for name in _OFF:
        os.environ.setdefault(name, "0")
    if counts:
        count_in_own_files()


class SglangProcesses:
    """SglangProcesses reports the first process of an engine that ends without having been asked
    to.

    SGLang would notice by a poll once a second, or by SIGQUIT from a scheduler that raised, and
    answer both by killing this process at once. Here pidfds notice in milliseconds, and this
    process lives on to tell the frontends.

    Args:
        engine: SGLang's Engine, started.
        note: where its processes say what they fail of.
        exit_is_death: False on a node that takes no requests, whose schedulers also end when those
        of the first node do.
        on_death: see `workers.engine.OnDeath`.
    """

    def __init__(
        self, engine: Any, note: FailureNote, *, exit_is_death: bool, on_death: OnDeath
    ) -> None:
        self._engine = engine
        self._exit_is_death = exit_is_death
        self._on_death = on_death
        self._note = note
        self._reported = False
        self._watch = ProcessWatch(self._on_exit)

    async def watch(self) -> None:
        """Begins to watch the processes, in place of SGLang's own watchdog."""
        manager = self._engine.tokenizer_manager
        watchdog = None if manager is None else manager._subprocess_watchdog
        if watchdog is not None:
            # In a thread: it waits for a poll to end. With it running, a stop would be taken for a
            # crash.
            await asyncio.to_thread(watchdog.stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self._on_sigquit)
        self._watch.add({pid: _name(pid) for pid in self._engine.get_all_child_pids()})

    def expect_exits(self) -> None:
        """Notes that from here on processes end because they are asked to."""
        self._reported = True
        self._watch.close()

    async def ask_to_end(self, manager: Any) -> None:
        """Tells the schedulers to end, and waits until they have, though no longer than
        `_SCHEDULER_EXIT_S`.

        Args:
            manager: SGLang's TokenizerManager.
        """
        from sglang.srt.managers.io_struct import ShutdownReq  # noqa: PLC0415

        manager._dispatch_to_scheduler(ShutdownReq())
        await asyncio.sleep(_WAKE_UP_S)
        manager._dispatch_to_scheduler(ShutdownReq())
        await self.schedulers_gone(_SCHEDULER_EXIT_S)

    async def schedulers_gone(self, within_s: float, *, poll_s: float = 0.05) -> None:
        """Waits until no scheduler is left, but no longer than `within_s`."""
        from sglang.srt.utils.cudacore_pyspy_dump_utils import collect_scheduler_processes  # noqa: PLC0415

        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and collect_scheduler_processes():  # noqa: ASYNC110  # a controller's children cannot be awaited
            await asyncio.sleep(poll_s)

    async def end_with_schedulers(self) -> None:
        """Ends this worker, a follower, when its schedulers have ended, as the leader tells them
        to; then nothing is left to do here.
        """
        await self.schedulers_gone(math.inf, poll_s=1.0)
        log.info("the engine's leader has stopped")
        os.kill(os.getpid(), signal.SIGTERM)

    def _on_exit(self, name: str, code: int | None) -> None:
        if self._exit_is_death or (code is not None and code < 0):
            self._report(f"SGLang's {name} {in_words(code)}")

    def _on_sigquit(self) -> None:
        self._report("a process of SGLang failed")

    def _report(self, reason: str) -> None:
        if not self._reported:
            self._reported = True
            why = self._note.read()
            self._on_death(f"{reason}: {why}"[:MESSAGE_CHARS_MAX] if why else reason)


async def kill_children() -> None:
    """Kills and reaps every process that descends from this one."""
    await asyncio.to_thread(_kill_children)


def _kill_children() -> None:
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    reap_children()


def reap_children() -> None:
    """Waits for the killed children, which SGLang counts as gone once they are zombies."""
    multiprocessing.active_children()  # reaps what multiprocessing started, and tells it so
    for child in psutil.Process().children():
        try:
            child.wait(timeout=_REAPED_S_MAX)
        except psutil.Error as error:
            log.warning("process %d of the engine is not gone: %s", child.pid, error)


def _name(pid: int) -> str:
    """Returns what SGLang calls the process: "scheduler_DP0_TP0"."""
    try:
        return psutil.Process(pid).name().removeprefix("sglang::")
    except psutil.NoSuchProcess:
        return f"process {pid}"
