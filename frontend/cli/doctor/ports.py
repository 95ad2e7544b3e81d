"""The addresses that a frontend and workers would listen on: free, or taken and by whom."""

import errno
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from frontend.cli.addresses import bracketed
from frontend.cli.direct_http import UNREACHABLE, get_json
from frontend.cli.doctor.finding import Finding, fail, ok
from frontend.cli.doctor.processes import listeners_at, members
from frontend.cli.doctor.subject import Subject
from protocol.siblings import sibling_address
from protocol.transport.sockets import path_of

ANSWER_S_MAX: Final = 3.0

SOCKET_PATH_BYTES_MAX: Final = 107
"""Bounds the path of a socket (sun_path of unix(7), less its end)."""

WORKER_PORTS: Final = (
    ("DYN_SYSTEM_PORT", 1, "system port"),
    ("KVMESH_KV_PORT", 2, "KV events port"),
    ("KVMESH_ENCODINGS_PORT", 1, "encodings port"),
)
"""Lists the variables that give workers fixed ports, how many they take, and what for."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yields a finding for each address that is configured."""
    yield from taken_twice(subject)
    settings = subject.settings
    if settings.http_port:
        yield http_port(settings.http_host, settings.http_port, subject.url)
    for number in range(settings.frontend_processes):
        yield mesh(sibling_address(settings.mesh_bind, number))
    for variable, count, about in WORKER_PORTS:
        first = subject.environ.get(variable, "")
        if first.isdecimal() and int(first):
            for port in range(int(first), int(first) + count):
                yield tcp(about, "127.0.0.1", port, f"give another one in {variable}")


def taken_twice(subject: Subject) -> Iterator[Finding]:
    """Yields a finding for each port that is configured for two things of a frontend."""
    settings = subject.settings
    takes = {settings.http_port: "HTTP"} if settings.http_port else {}
    for number in range(settings.frontend_processes):
        address = sibling_address(settings.mesh_bind, number)
        tail = address.rpartition(":")[2]
        port = int(tail) if address.startswith("tcp://") and tail.isdecimal() else 0
        if port in takes:
            yield fail(
                "ports",
                f"{port} is configured for {takes[port]} and for the mesh of process {number + 1}",
                "Choose --mesh-bind so that the ports that follow it, one a process, are free.",
            )
        elif port:
            takes[port] = f"the mesh of process {number + 1}"


def http_port(host: str, port: int, url: str) -> Finding:
    """Returns a finding on the port that clients ask; a frontend of kvmesh may have it."""
    found = tcp("http port", host, port, "choose another with --http-port", ours="frontend")
    if found.verdict == "fail" and _is_frontend(url):
        return ok("http port", f"{bracketed(host)}:{port} is a frontend's of kvmesh, which answers")
    return found


def mesh(address: str) -> Finding:
    """Returns a finding on the address that workers dial."""
    scheme, _, _ = address.partition("://")
    if scheme == "ipc":
        path = path_of(address)
        return _mesh_at(path) if path.startswith("\0") else mesh_file(Path(path))
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").replace("*", ""), parts.port or 0
    except ValueError:
        scheme, host, port = "", "", 0
    if scheme != "tcp" or not port:
        return fail(
            "mesh", f"{address} is no address", "It must be like tcp://HOST:PORT or ipc://PATH."
        )
    return tcp("mesh", host, port, "choose another with --mesh-bind", ours="frontend")


def mesh_file(path: Path) -> Finding:
    """Returns a finding on a mesh address that is a file."""
    if len(str(path).encode()) > SOCKET_PATH_BYTES_MAX:
        return fail(
            "mesh",
            f"{path} is longer than the {SOCKET_PATH_BYTES_MAX} bytes of a socket's path",
            "Choose a shorter one with --mesh-bind, or a shorter TMPDIR.",
        )
    directory = path.parent
    if directory.is_dir() and directory.stat().st_mode & stat.S_IWOTH and not _is_sticky(directory):
        return fail(
            "mesh",
            f"{directory} may be written to by anybody",
            f"chmod 700 {directory}, so that nobody else puts a socket there.",
        )
    return _mesh_at(str(path))


def _mesh_at(path: str) -> Finding:
    is_abstract = path.startswith("\0")
    name = f"@{path[1:]}" if is_abstract else path
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S_MAX)
            connection.connect(path)
    except FileNotFoundError:
        return ok("mesh", f"{name} is free")
    except ConnectionRefusedError:
        return ok("mesh", f"{name} is free" + ("" if is_abstract else "; who had it has ended"))
    except OSError as error:
        return fail(
            "mesh", f"{name}: {error.strerror}", "Choose another with --mesh-bind, or remove it."
        )
    return ok("mesh", f"{name} is a running frontend's")


def tcp(about: str, host: str, port: int, choose: str, *, ours: str = "") -> Finding:
    """Returns a finding on a TCP address to listen on.

    Args:
        choose: how another is chosen.
        ours: the part of kvmesh that may have it already.
    """
    says = f"{bracketed(host)}:{port}" if host else f"port {port}"
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.create_server(address[:2], family=family):
            return ok(about, f"{says} is free")
    except OSError as error:
        why = error
    if why.errno != errno.EADDRINUSE:
        return fail(about, f"{says}: {why.strerror}", f"Correct the address, or {choose}.")
    mine = next(
        (
            each
            for each in members()
            if each.part.startswith((ours or "worker", "worker"))
            and port in [there for _, there in each.tcp]
        ),
        None,
    )
    if mine is not None:
        return ok(about, f"{says} is listened on by kvmesh's {mine}")
    taken_by = ", ".join(listeners_at(port)) or "a process that cannot be seen"
    return fail(about, f"{says} is taken by {taken_by}", f"Stop that, or {choose}.")


def _is_frontend(url: str) -> bool:
    try:
        return "workers" in get_json(f"{url}/health", timeout_s=ANSWER_S_MAX, also_errors=True)
    except (*UNREACHABLE, TypeError):
        return False


def _is_sticky(directory: Path) -> bool:
    return bool(directory.stat().st_mode & stat.S_ISVTX)
