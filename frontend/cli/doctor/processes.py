"""Processes of kvmesh on this host, and the sockets that they listen on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import Final

import psutil

_MODULES: Final = {"frontend": "frontend", "workers": "worker"}


@dataclass(frozen=True)
class Member:
    """A Member is a process of kvmesh, or one that such a process started.

    Attributes:
        part: what it is to people, as "frontend", "worker" or "worker's engine".
        tcp: the addresses that it listens on, host and port.
        files: the paths of the sockets that it listens on; "@…" for abstract ones.
        seen: False where its sockets cannot be looked at, being another user's.
    """

    pid: int
    part: str
    tcp: tuple[tuple[str, int], ...] = ()
    files: tuple[str, ...] = ()
    seen: bool = True

    def __str__(self) -> str:
        return f"{self.part} (pid {self.pid})"


def part_of(argv: Sequence[str]) -> str | None:
    """Returns which part of kvmesh a command line starts; None for others'."""
    if not argv:
        return None
    if Path(argv[0]).name.startswith("python"):
        for flag, module in pairwise(argv):
            if flag == "-m":
                return _MODULES.get(module)
            if Path(flag).name == "kvmesh":
                return f"kvmesh {module}" if module == "up" else None
    return None


def members() -> list[Member]:
    """Returns the processes of kvmesh that this user can see, and those that they started."""
    parts: dict[int, str] = {}
    parents: dict[int, int] = {}
    for process in psutil.process_iter(["cmdline", "ppid"]):
        parents[process.pid] = process.info["ppid"] or 0
        part = part_of(process.info["cmdline"] or [])
        if part is not None:
            parts[process.pid] = part
    found = {pid: part for pid in parents if (part := _inherited(pid, parts, parents))}
    there = (_member(pid, part) for pid, part in sorted(found.items()))
    return [member for member in there if member is not None]


def listeners_at(port: int) -> list[str]:
    """Returns who listens on a TCP port, as name and pid; the name alone is shown, since what
    follows it may be secret.
    """
    return list(
        dict.fromkeys(
            _named(each.pid)
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr[1] == port
        )
    )


def _inherited(pid: int, parts: dict[int, str], parents: dict[int, int]) -> str | None:
    if pid in parts:
        return parts[pid]
    for parent in _ancestors(pid, parents):
        if parent in parts:
            part = parts[parent]
            return f"{part}'s engine" if part == "worker" else f"{part}'s child"
    return None


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    seen: set[int] = set()
    while (pid := parents.get(pid, 0)) and pid not in seen:
        seen.add(pid)
        yield pid


def _member(pid: int, part: str) -> Member | None:
    """Returns a process with its sockets; None if it has just ended."""
    try:
        connections = psutil.Process(pid).net_connections("all")
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:
        return Member(pid, part, seen=False)
    tcp = {
        (_plain(str(each.laddr[0])), int(each.laddr[1]))
        for each in connections
        if each.status == psutil.CONN_LISTEN and each.laddr
    }
    files = {
        str(each.laddr)
        for each in connections
        if each.status == psutil.CONN_NONE and isinstance(each.laddr, str) and each.laddr
    }
    return Member(pid, part, tuple(sorted(tcp)), tuple(sorted(files)))


def _plain(host: str) -> str:
    """Returns an address of IPv4 as such, where a socket for both has it among those of IPv6."""
    mapped = getattr(ip_address(host), "ipv4_mapped", None)
    return str(mapped or host)


def _named(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"a process that has just ended (pid {pid})"
