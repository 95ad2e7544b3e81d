"""Processes under test: started with a readiness check, ended by their own id, and read through
/proc.
"""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
REPO = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat_fields(pid: int) -> list[str]:
    # The name in parentheses may hold spaces, so fields are counted from the last parenthesis.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def descendants(pid: int) -> list[int]:
    """`pid` and every living process below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_stat_fields(int(entry.name))[1]), []).append(
                    int(entry.name)
                )
            except (OSError, IndexError):
                continue
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds (user + system) of `pid`, of its living descendants, and of the children each has
    reaped. Resolution 10 ms.
    """
    ticks = 0
    for each in descendants(pid):
        try:
            ticks += sum(int(value) for value in _stat_fields(each)[11:15])
        except OSError:
            continue
    return ticks / TICKS_PER_S


def _memory_mib(pid: int, file: str, key: str) -> float:
    total_kib = 0
    for each in descendants(pid):
        try:
            lines = Path(f"/proc/{each}/{file}").read_text().splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith(key))
    return total_kib / 1024


def rss_mib(pid: int) -> float:
    """Resident memory of `pid` and its descendants; pages they share count once for each."""
    return _memory_mib(pid, "status", "VmRSS:")


def pss_mib(pid: int) -> float:
    """Proportional resident memory of `pid` and its descendants: shared pages are divided among
    their users.
    """
    return _memory_mib(pid, "smaps_rollup", "Pss:")


def peak_rss_mib(pid: int) -> float:
    """Sum of the peaks of `pid` and its descendants since start or `reset_peak_rss`."""
    return _memory_mib(pid, "status", "VmHWM:")


def reset_peak_rss(pid: int) -> None:
    """Makes VmHWM count from now (proc(5), clear_refs)."""
    for each in descendants(pid):
        Path(f"/proc/{each}/clear_refs").write_text("5")


def http_ok(url: str, timeout_s: float = 1.0) -> bool:
    """Whether a GET of `url` answers 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return 200 <= answer.status < 300
    except (urllib.error.URLError, OSError):
        return False


def http_json(url: str) -> Any:
    """The JSON that a GET of `url` answers. Raises URLError where nobody does."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def http_metric(url: str, name: str, **labels: str) -> float:
    """The sum of a metric at `url`/metrics over all label sets that have these."""
    total = 0.0
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(
                f'{label}="{value}"' in (match[1] or "") for label, value in labels.items()
            ):
                total += float(match[2])
    return total


def port_open(port: int) -> bool:
    """Whether somebody listens on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(
    ready: Callable[[], bool], what: str, timeout_s: float, alive: Callable[[], bool] = lambda: True
) -> None:
    """Polls every 50 ms; raises RuntimeError when time is up or `alive` turns false."""
    end = time.monotonic() + timeout_s
    while not ready():
        if not alive():
            raise RuntimeError(f"{what} ended while starting")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} was not ready within {timeout_s:g} s")
        time.sleep(0.05)


@dataclass
class Process:
    """A child in a session of its own, with its output in `log`; a context manager that ends the
    whole session.
    """

    name: str
    args: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    popen: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as out:
            self.popen = subprocess.Popen(
                list(self.args),
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=REPO,
                env={**os.environ, **self.env},
                start_new_session=True,
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self.popen is not None, f"{self.name} is not running"
        return self.popen.pid

    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Waits for `ready`; the error names the log and its end."""
        try:
            wait_until(ready, self.name, timeout_s, self.alive)
        except RuntimeError as error:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise RuntimeError(f"{error}; {self.log}:\n{tail}") from None

    def stop(self, grace_s: float = 5.0) -> None:
        """SIGINT to the session, then SIGKILL after `grace_s`."""
        if self.popen is None:
            return
        for sign in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(self.popen.pid, sign)
            except ProcessLookupError:
                break
            try:
                self.popen.wait(grace_s)
            except subprocess.TimeoutExpired:
                continue
        self.popen = None
