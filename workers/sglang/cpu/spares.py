"""On a CPU host the processes of SGLang are forks of one that has imported it.

Started anew, as multiprocessing would, each takes ten seconds of a core for its imports, and 300 MB
that can be shared.

Without CUDA nothing of SGLang or torch forbids it, as long as nothing was used yet: a fork has but
one thread, so none may be lost that holds a lock. Hence spares: they are forked when all is
imported and before there is any other thread, wait, and become what is started later. Where there
is none (left), multiprocessing starts Python as ever.

Spares are children of the process that uses them, as spawned ones are, so signals, exit codes and
the end with their parent are those of any child.
"""

import gc
import io
import json
import logging
import os
import resource
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import (
    popen_fork,
    popen_spawn_posix,
    reduction,
    resource_tracker,
    spawn,
    util,
)
from multiprocessing.context import SpawnProcess, set_spawning_popen
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from protocol.process.parent_death import end_with_parent

log = logging.getLogger(__name__)

_FILES_MAX: Final = 64
"""A process is given at most this many open files, pipes to its parent."""

_LIMITS: Final = (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK)
"""These are the limits that SGLang raises before it starts processes."""


_LENGTH: Final = struct.Struct("=I")
"""The environment's length, in bytes as JSON, comes first, and the open files with it."""


@dataclass
class _Spare:
    """A _Spare is a forked process that waits at the other end of `link`."""

    pid: int
    link: socket.socket


_waiting: list[_Spare] = []
_given: list[int] = []
"""In a spare that was given its work: the files that came with it."""


def fork_spares(count: int) -> None:
    """Sees to it that so many spares wait, and has multiprocessing's "spawn" use them.

    Forks none where it would lose a thread. Main thread only.
    """
    if threading.active_count() > 1:
        log.debug("no process is forked: there are threads")
        return
    gc.freeze()  # or a look for garbage in one process would copy the pages of all objects for it
    while len(_waiting) < count:
        _fork()
        # Now, since the fork ends the threads of linear algebra that numpy started at its import.
        if len(list(Path("/proc/self/task").iterdir())) > 1:
            log.debug("no process is forked: there are threads that are not Python's")
            dismiss_spares()
            return
    spawned: Any = SpawnProcess
    spawned._Popen = staticmethod(_start)


def dismiss_spares() -> None:
    """Ends those that wait, when nothing more is to be started."""
    while _waiting:
        spare = _waiting.pop()
        spare.link.close()
        with suppress(ChildProcessError):  # killed and waited for already
            os.waitpid(spare.pid, 0)


def spare_waits() -> bool:
    """Tells whether the next process to be started will be a spare."""
    return bool(_waiting)


@contextmanager
def spares_until_then() -> Generator[None]:
    """Ends the spares that are left at the end of the `with` statement."""
    try:
        yield
    finally:
        dismiss_spares()


def processes_here(server_args: Any) -> int:
    """Returns how many processes at most an engine's first process starts on this node."""
    return (
        ranks_here(server_args)
        + (server_args.dp_size > 1)  # their controller
        + 1  # what tries grammars
    )


def ranks_here(server_args: Any) -> int:
    """Returns how many schedulers an engine has on this node."""
    groups = 1 if server_args.enable_dp_attention else server_args.dp_size
    return max(1, server_args.tp_size * server_args.pp_size * groups // server_args.nnodes)


def _fork() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _end_as(parent, lambda: _wait_for_work(ours, theirs))
    theirs.close()
    _waiting.append(_Spare(pid, ours))


def _start(process: Any) -> Any:
    """Starts one of multiprocessing's processes, in a spare if there is one.

    SGLang puts numactl in front of Python where a process is to be bound to memory.
    """
    as_ever = os.fsdecode(spawn.get_executable()) == sys.executable
    while _waiting and as_ever:
        spare = _waiting.pop(0)
        try:
            return _Popen(process, spare)
        except OSError as error:  # somebody killed it
            log.warning("process %d cannot be used: %s", spare.pid, error)
    return popen_spawn_posix.Popen(process)


class _Duplicate:
    """A _Duplicate stands for an open file in what is written for a spare."""

    def __init__(self, index: int) -> None:
        self._index = index

    def detach(self) -> int:
        """Returns the file's number in the spare."""
        return _given[self._index]


class _Popen(popen_fork.Popen):
    """A _Popen is a spare at work, as multiprocessing knows a process that it forked itself."""

    method = "spawn"
    DupFd = _Duplicate

    def __init__(self, process: Any, spare: _Spare) -> None:
        self._spare = spare
        self._files: list[int] = []
        super().__init__(process)

    def duplicate_for_child(self, fd: int) -> int:
        """Takes an open file along; returns which one it is in the spare."""
        self._files.append(fd)
        return len(self._files) - 1

    def _launch(self, process_obj: Any) -> None:
        work, this = io.BytesIO(), cast("Any", self)
        set_spawning_popen(this)
        try:
            reduction.dump(spawn.get_preparation_data(process_obj.name), work)
            reduction.dump(process_obj, work)
        finally:
            set_spawning_popen(None)
        self.pid = self._spare.pid
        for limit in _LIMITS:
            resource.prlimit(self.pid, limit, resource.getrlimit(limit))
        with self._spare.link as link:
            tracker = cast("int", resource_tracker.getfd())
            environment = json.dumps(dict(os.environ)).encode()
            socket.send_fds(link, [_LENGTH.pack(len(environment))], [tracker, *self._files])
            link.sendall(environment)
            link.sendall(work.getbuffer())
        self.sentinel = os.pidfd_open(self.pid)
        self.finalizer = util.Finalize(self, os.close, (self.sentinel,))


def _end_as(parent: int, main: Callable[[], int]) -> NoReturn:
    """Runs a fork of `parent`, and ends with it."""
    code = 1
    try:
        if end_with_parent(parent, signal.SIGKILL):
            code = main()
    except BaseException as error:  # noqa: BLE001  # the end of this process, as Python's would be
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _wait_for_work(parents: socket.socket, link: socket.socket) -> int:
    """Waits, in a spare, until it is told what to be; returns its exit code."""
    parents.close()
    while _waiting:  # those forked before it: they are to see it when their parent lets go
        _waiting.pop().link.close()
    head, files, _, _ = socket.recv_fds(link, _LENGTH.size, _FILES_MAX)
    if not head:
        return 0
    tracker: Any = resource_tracker
    tracker._resource_tracker._fd, *_given[:] = files  # as Python's own forkserver does
    (length,) = _LENGTH.unpack(head)
    _be_as_started(json.loads(link.recv(length, socket.MSG_WAITALL)))
    return cast("Any", spawn)._main(link.detach(), os.pidfd_open(os.getppid()))


def _be_as_started(environment: dict[str, str]) -> None:
    """Makes of a fork what a new process would be: it has the environment of now, and says nothing
    that it was not told to say.
    """
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:  # setproctitle finds its memory by what is left as it is
            os.environ[name] = value
    logging.basicConfig(force=True, handlers=[], level=logging.WARNING)
    torch, threads = sys.modules.get("torch"), environment.get("OMP_NUM_THREADS", "")
    if torch is not None and threads.isdecimal() and int(threads):
        torch.set_num_threads(int(threads))  # it has read the environment when it was imported
