"""A process in a session of its own, with its output in a log: started, read, ended."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

REPO: Final = Path(__file__).resolve().parents[1]

STOP_S_MAX: Final = 30.0
"""What a process that is asked to end is given, if no other time is said."""

LAST_WORDS: Final = 4_000
"""Characters of a log that an error shows."""


@dataclass(frozen=True)
class Process:
    """A started process, which leads a session; as a context manager, one that is interrupted in
    the end.
    """

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.interrupt()

    @property
    def pid(self) -> int:
        """Its id, which is its session's and its process group's too."""
        return self.popen.pid

    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def output(self) -> str:
        """All that it wrote so far, to either stream."""
        return self.log.read_text(errors="replace")

    def last_words(self) -> str:
        """The end of its log, under a line that names the log and says whether the process runs."""
        state = "runs" if self.alive() else f"ended with {self.popen.returncode}"
        return f"--- {self.log} ({state})\n{self.output()[-LAST_WORDS:]}"

    def children_left(self) -> list[str]:
        """What still runs of its session, a line of `ps` each; the dead that init has yet to bury
        do not.
        """
        return running_in([self.pid])

    def stop(self, number: int = signal.SIGTERM, wait_s_max: float = STOP_S_MAX) -> int:
        """Ask the process, and it alone, to end, await that, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it had not ended in time, and its group has been killed.
        """
        self.popen.send_signal(number)
        try:
            return self.popen.wait(wait_s_max)
        finally:
            if self.alive():
                self.kill()

    def interrupt(self, wait_s_max: float = 5.0) -> None:
        """End the process as Ctrl-C at its terminal does, and then by force what is left of its
        group.
        """
        self._signal_group(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(wait_s_max)
        self.kill()

    def kill(self) -> None:
        """Kill the whole group, and await the process."""
        self._signal_group(signal.SIGKILL)
        self.popen.wait()

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def start(
    command: Sequence[object],
    log: Path,
    *,
    name: str = "",
    environment: Mapping[str, str] | None = None,
    folder: Path = REPO,
) -> Process:
    """Start a command in a session of its own, with nothing to read and its output in a log.

    Args:
        command: words, each of which is told by its text.
        log: written anew; its folder is made.
        name: what errors call the process; the log's if not given.
        environment: variables on top of this process's own.
        folder: where it runs.
    Raises:
        OSError: there is no such program or folder.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    return Process(name or log.stem, popen, log)


def running_in(sessions: Sequence[int]) -> list[str]:
    """What runs in these sessions, a line of `ps` each: state, id and command line."""
    listed = subprocess.run(
        ["ps", "-o", "stat=,pid=,args=", "--sid", ",".join(map(str, sessions))],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]
