"""Systems that stay up between two calls of a program: noted, found again, ended."""

import json
import os
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bench.kit.running import Running, runs


def end_all(systems: Iterable[Running], grace_s: float = 6.0) -> None:
    """Ends every process of the systems' sessions together: SIGINT, and after `grace_s` SIGKILL.

    They may be children of an earlier call, which only their ids tell of.
    """
    leaders = {pid for system in systems for pid in system.leaders}
    _signal_groups(leaders, signal.SIGINT)
    end = time.monotonic() + grace_s
    while time.monotonic() < end and any(map(runs, leaders)):
        time.sleep(0.1)
    _signal_groups(leaders, signal.SIGKILL)


def _signal_groups(leaders: Iterable[int], number: signal.Signals) -> None:
    for pid in leaders:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def note(systems: Sequence[Running], file: Path) -> None:
    """For a later call of the program that goes on with the same systems."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(system) for system in systems]) + "\n")


def noted(file: Path) -> list[Running]:
    """The systems that an earlier call left running and that still run.

    They are the caller's from now on: the file is gone.
    """
    try:
        found = [Running(**fields) for fields in json.loads(file.read_text())]
        file.unlink()
    except OSError:
        return []
    return [system for system in found if system.alive()]
