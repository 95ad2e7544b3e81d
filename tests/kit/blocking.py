"""Calls that block an event loop are found, wherever our packages make them on one.

blockbuster wraps what may wait for a disk, a socket, a lock or a clock; we add what it leaves out.
A call raises, and is kept as well, since product code has one request's failure end that one alone
and would hide it. What computes for long is none of these: tests/security measures that.
"""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import zmq
from blockbuster import BlockBuster, BlockBusterFunction
from blockbuster import blockbuster as library

PACKAGES: Final = ("frontend", "kv_events", "protocol", "workers")
ROOT: Final = str(Path(__file__).parents[2])
FRAMES_KEPT: Final = 12

DELIBERATE: Final = {
    # lines to stderr, whose number per second is bounded (protocol/process/log_floods.py)
    "logging/__init__.py": ("emit",),
    # 64 digits, read once, before anybody is served
    "protocol/transport/curve.py": ("from_file",),
    # arguments are read at the start; argparse looks for its translations
    "protocol/process/settings.py": ("parse_known_settings", "parse_settings"),
    "workers/kinds/arguments.py": ("told",),
    # the directory of model files is made when a frontend starts
    "frontend/models/files.py": ("__init__",),
    # a worker imports and starts its engine before it says Hello; a thread speaks meanwhile
    "workers/server.py": ("start",),
    "workers/sim/engine.py": ("start",),
    "workers/kinds/kind.py": ("engine",),
    # whose the directory of sockets is, before one is opened, and one of a process in it, once
    "protocol/process/own_directory.py": ("own_directory", "process_directory"),
    # whether somebody listens at a path, before it is bound, at start
    "protocol/transport/sockets.py": ("require_unused",),
    # its path in a directory of sockets is bound at start, and goes at the end
    "protocol/transport/loop_router.py": ("_listening", "close"),
    # the simulation reads its model where a frontend has a thread for it
    "tests/simulation/model.py": ("demo_tokenizer", "read_model"),
    # a loop of simulated time has no threads
    "tests/simulation/loop.py": ("run_in_executor",),
    # FastAPI looks for the source of each page's function, with its first request
    "fastapi/routing.py": ("_extract_endpoint_context",),
    # the ends of two pipes, which are open already
    "workers/sglang/grammars/forked_trial.py": ("connect",),
    # `kvmesh up` serves nobody itself
    "frontend/cli/child.py": ("start",),
}
"""Functions below which a call may block, by the end of their file's path."""


class Blocked:
    """What blocked a loop of this process since `watch`, a line each with the calls that led to it,
    the innermost first.
    """

    def __init__(self, tell: Callable[[str], object] | None = None) -> None:
        self.found: list[str] = []
        self._tell = tell or self.found.append
        self._buster = BlockBuster([*PACKAGES])
        self._error = library.BlockingError

    def watch(self) -> None:
        """Begin. Code that took a function out of its module before keeps the real one."""
        self._buster.functions |= {
            name: BlockBusterFunction(None, name, scanned_modules=[*PACKAGES], **options)
            for name, options in _left_out().items()
        }
        for function in self._buster.functions.values():
            for file, functions in DELIBERATE.items():
                function.can_block_in(file, functions)
        tell = self._tell

        class Kept(self._error):  # what the wrappers raise
            def __init__(self, func: str) -> None:
                super().__init__(func)
                tell(f"{func}: {_calls()}")

        library.BlockingError = Kept
        self._buster.activate()

    def leave(self) -> None:
        """End; calls are as they were."""
        self._buster.deactivate()
        library.BlockingError = self._error

    def take(self) -> list[str]:
        """What was found since the last time."""
        found, self.found[:] = self.found[:], []
        return found


def _left_out() -> dict[str, dict[str, Any]]:
    """Functions that block and that the library does not know, by name."""
    at_once = {"can_block_predicate": _is_at_once}
    polling = {"can_block_predicate": lambda _socket, timeout=None, *_: timeout == 0}
    return {
        "builtins.open": {},
        "io.open": {},
        "os.fsync": {},
        "os.waitpid": {"can_block_predicate": lambda _pid, options: bool(options)},
        "socket.getaddrinfo": {},
        "subprocess.Popen.__init__": {},
        "zmq.Socket.recv": at_once,
        "zmq.Socket.poll": polling,
        "zmq.Poller.poll": polling,
        # uvloop forks on the loop, which stands until the child runs its program
        "asyncio.create_subprocess_exec": {},
        "asyncio.create_subprocess_shell": {},
    }


def _is_at_once(_socket: zmq.Socket[bytes], flags: int = 0, *_: Any, **__: Any) -> bool:
    return bool(flags & zmq.DONTWAIT)


def _calls() -> str:
    """The calls that led here, the innermost first: of a library the last one alone."""
    calls = [
        f"{frame.filename.removeprefix(ROOT + '/')}:{frame.lineno} {frame.name}"
        for frame in reversed(traceback.extract_stack())
        if frame.filename not in (__file__, library.__file__)
    ]
    ours = [call for call in calls[1:] if not call.startswith(("/", "<"))]
    return " < ".join([calls[0], *ours][:FRAMES_KEPT])
