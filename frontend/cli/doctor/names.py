"""Names under which frontends are dialled are resolved, and their ports tried."""

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from frontend.cli.doctor.finding import Finding, fail, ok
from frontend.cli.doctor.subject import Subject

CONNECT_S_MAX: Final = 3.0
"""Bounds how long an address may take to let a connection in."""

ADDRESSES_MAX: Final = 8
"""Bounds the addresses behind one name that are tried: a fleet has fewer frontends, as a rule."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yields a finding for each address that workers here would dial, and for names that the
    frontend goes by.
    """
    for address in subject.dialled:
        if address.startswith("tcp://"):
            yield from dialled(address)
    url = urlsplit(subject.url)
    for about, host in (("url", url.hostname), ("http host", subject.settings.http_host)):
        if host and not _is_address(host) and host != "localhost":
            yield resolved(about, host)


def resolved(about: str, host: str) -> Finding:
    """Returns a finding on what a name stands for."""
    try:
        addresses = _addresses(host, 0)
    except OSError as error:
        return _unknown(about, host, error)
    return ok(about, f"{host} stands for {', '.join(addresses)}")


def dialled(address: str) -> Iterator[Finding]:
    """Yields a finding on a mesh address, as tcp://HOST:PORT, for each address behind its name."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:
        host, port = "", 0
    if not host or not port:
        yield fail("dialled", f"{address} is no address", "It must be like tcp://HOST:PORT.")
        return
    try:
        addresses = _addresses(host, port)
    except OSError as error:
        yield _unknown("dialled", host, error)
        return
    for each in addresses[:ADDRESSES_MAX]:
        yield _tried(host, each, port)


def _tried(host: str, address: str, port: int) -> Finding:
    says = f"{address} port {port}" if host == address else f"{host} is {address}, port {port}"
    try:
        socket.create_connection((address, port), CONNECT_S_MAX).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        return fail(
            "dialled",
            f"{says}: {reason}",
            "Start a frontend there with --mesh-bind at that port, or let it through the firewall.",
        )
    return ok("dialled", f"{says}: takes connections")


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _unknown(about: str, host: str, error: OSError) -> Finding:
    return fail(
        about,
        f"{host} cannot be resolved: {error.strerror}",
        "Correct the name, or add it to DNS or /etc/hosts.",
    )


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False
