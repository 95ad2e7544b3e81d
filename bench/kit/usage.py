"""CPU and memory that processes under test take, read from /proc with their descendants'."""

import os
import time
from contextlib import suppress
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


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
    """CPU seconds (user + system) of `pid` and its living descendants, to the nanosecond, and of
    the children each has reaped, to 10 ms.
    """
    total_s = 0.0
    for each in descendants(pid):
        with suppress(OSError):
            reaped_ticks = sum(int(value) for value in _stat_fields(each)[13:15])
            total_s += reaped_ticks / TICKS_PER_S + own_cpu_s(each)
    return total_s


def own_cpu_s(pid: int) -> float:
    """CPU seconds of a living process alone, without children, to the nanosecond."""
    # the number of a process's clock, as clock_getcpuclockid(3) makes it on Linux
    return time.clock_gettime((~pid << 3) | 2)


def kernel_cpu_s(pid: int) -> float:
    """What the kernel took of `own_cpu_s`, to 10 ms."""
    return int(_stat_fields(pid)[12]) / TICKS_PER_S


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
