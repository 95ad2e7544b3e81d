"""Where the processes of a fleet listen."""

import stat
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import psutil

from starter.process import Process


def family(processes: Sequence[Process]) -> list[psutil.Process]:
    """The processes and all that they started."""
    roots = [
        psutil.Process(process.popen.pid) for process in processes if process.popen.poll() is None
    ]
    return [each for root in roots for each in (root, *root.children(recursive=True))]


def ports(processes: Sequence[Process]) -> list[tuple[str, int]]:
    """Hosts and ports on which somebody of them takes connections or datagrams."""
    connections = [
        connection for each in family(processes) for connection in each.net_connections("inet")
    ]
    taking = [
        each
        for each in connections
        if not each.raddr and each.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    ]
    return sorted({(each.laddr.ip, each.laddr.port) for each in taking if each.laddr})


def off_loopback(processes: Sequence[Process]) -> list[tuple[str, int]]:
    """Those that other hosts reach."""
    return [(host, port) for host, port in ports(processes) if not _is_loopback(host)]


def paths(processes: Sequence[Process]) -> list[Path]:
    """Files that are sockets of theirs."""
    names = {
        str(connection.laddr)
        for each in family(processes)
        for connection in each.net_connections("unix")
    }
    return sorted(Path(name) for name in names if name.startswith("/"))


def open_to_others(processes: Sequence[Process]) -> list[Path]:
    """Those of the files that other users could come near."""
    return [path for path in paths(processes) if stat.S_IMODE(path.parent.stat().st_mode) & 0o077]


def _is_loopback(host: str) -> bool:
    address = ip_address(host)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
