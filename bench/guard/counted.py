"""Programs whose instructions are counted: they run under callgrind, which counts what they do in
user space, whatever else the machine does meanwhile.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starter.fleet import Fleet
from starter.process import Process

VALGRIND: Final = "valgrind"
VGDB: Final = "vgdb"
"""Comes with valgrind, and asks programs that run under it."""

ANSWER_S_MAX: Final = 60.0
"""What a program is given to obey; it takes tenths of a second beside other work."""

_TOTAL: Final = re.compile(r"^totals: (\d+)$", re.MULTILINE)


def missing() -> list[str]:
    """Names of programs that counting needs and this machine lacks."""
    return [name for name in (VALGRIND, VGDB) if shutil.which(name) is None]


def total(dump: str) -> int:
    """The instructions that a dump of callgrind's tells of.

    Raises:
        ValueError: it has not one total.
    """
    (found,) = _TOTAL.findall(dump)
    return int(found)


@dataclass(frozen=True)
class Counted:
    """A started program; `lap` counts from when `begin` was called, or another `lap`.

    Attributes:
        folder: of its own; callgrind writes its dumps there.
    """

    process: Process
    folder: Path

    @classmethod
    def start(cls, fleet: Fleet, name: str, command: Sequence[str]) -> "Counted":
        """Starts a command that is not counted yet, and therefore several times faster.

        Its hashes are those of every other run, and so are the orders that hang on them.
        """
        folder = fleet.directory / f"counted-{name}"
        folder.mkdir()
        callgrind = (
            *(VALGRIND, "--tool=callgrind", "--instr-atstart=no"),
            *(f"--callgrind-out-file={folder / 'dump'}", _pipes(folder)),
        )
        environment = {"PYTHONHASHSEED": "0"}
        return cls(fleet.launch(name, [*callgrind, *command], env=environment), folder)

    def begin(self) -> None:
        """Counts from now on."""
        self._tell("instrumentation", "on")

    def lap(self) -> int:
        """Instructions of all its threads since the last lap, of which this is the end."""
        self._tell("dump")
        (dump,) = self.folder.glob("dump.*")
        counted = total(dump.read_text(errors="replace"))
        dump.unlink()
        return counted

    def _tell(self, *words: str) -> None:
        subprocess.run(
            [VGDB, f"--pid={self.process.pid}", _pipes(self.folder), *words],
            check=True,
            capture_output=True,
            timeout=ANSWER_S_MAX,
        )


def _pipes(folder: Path) -> str:
    return f"--vgdb-prefix={folder / 'vgdb'}"
