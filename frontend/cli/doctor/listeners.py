"""Every socket that kvmesh's processes listen on, and from where it can be reached."""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Final

from frontend.cli.addresses import bracketed, loopback_of
from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.greeting import Spoken, spoken_at
from frontend.cli.doctor.processes import Member, members
from frontend.cli.doctor.subject import Subject

FILES_SHOWN: Final = 3
"""Bounds the paths that are told of one process; those of an engine are in one directory."""


def check(_: Subject) -> Iterator[Finding]:
    """Yields a finding for each listening socket of each process of kvmesh on this host."""
    there = members()
    if not there:
        yield ok("sockets", "no process of kvmesh runs on this host")
    for member in there:
        yield from of_member(member, spoken_at)


def of_member(member: Member, listen_in: Callable[[str, int], Spoken]) -> Iterator[Finding]:
    """Yields a finding for each listening socket of a process; `listen_in` tells what is spoken at
    an address, and is asked where other hosts can reach it.
    """
    if not member.seen:
        yield warn(
            "sockets",
            f"{member} belongs to another user; its sockets cannot be seen",
            "Run kvmesh doctor as that user, or as root.",
        )
    for host, port in member.tcp:
        where = f"{member} listens on {bracketed(host)}:{port}"
        if ip_address(host).is_loopback:
            yield ok("sockets", f"{where}, for this host")
        else:
            yield _open(member, where, listen_in(loopback_of(host), port))
    if member.files:
        yield of_files(member, member.files)


def of_files(member: Member, files: Sequence[str]) -> Finding:
    """Returns a finding on sockets that are files, which their directory guards, or are none."""
    shown = ", ".join(files[:FILES_SHOWN])
    more = f" and {len(files) - FILES_SHOWN} more" if len(files) > FILES_SHOWN else ""
    return ok("sockets", f"{member} listens on files: {shown}{more}")


def _open(member: Member, where: str, spoken: Spoken) -> Finding:
    says = f"{where}, for other hosts too: {spoken.value}"
    if spoken in (Spoken.KEYED_MESH, Spoken.GUARDED_HTTP):
        return ok("sockets", says)
    if spoken is Spoken.OPEN_MESH:
        return fail(
            "sockets",
            f"{says}; whoever reaches it may join",
            "Start it with --mesh-key-file, or on a loopback address.",
        )
    if spoken is Spoken.HTTP and member.part.startswith("frontend"):
        return warn(
            "sockets",
            f"{says}, without a login",
            "Put a proxy that knows your users before it, or start it with --http-host 127.0.0.1.",
        )
    if spoken is Spoken.HTTP:
        return warn(
            "sockets",
            f"{says}, which changes engines and asks for no token",
            "Leave --system-host on 127.0.0.1, or start the worker with --system-token-file.",
        )
    return warn(
        "sockets",
        says,
        "It belongs to the engine (torch, gloo, NCCL), which asks for no key: keep others from it "
        "with a firewall or a network of its own.",
    )
