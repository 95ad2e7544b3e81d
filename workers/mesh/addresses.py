"""A worker finds its frontends at the addresses that it was given, where a DNS name stands for
every address behind it.
"""

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from protocol.process.start_error import StartError

ADDRESSES_MAX = 256
"""A worker dials at most this many frontends; a fleet needs one for several thousand requests a
second.
"""

RESOLVE_S_MAX = 5.0
"""The resolution of one name is waited for at most this many seconds: what a resolver gives one
silent nameserver (man 5 resolv.conf).

The next resolution asks again.
"""


class AddressBook:
    """An AddressBook resolves `tcp://name:port` to one address per frontend; literal and ipc
    addresses stand for themselves.

    Raises:
        StartError: an address is malformed.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self.known: set[str] = set()
        """The last resolution gave these addresses."""
        self.unresolved: set[str] = set()
        """The last resolution found nothing behind these of the given addresses."""
        self.given = list(dict.fromkeys(addresses))
        for address in self.given:
            if not _is_well_formed(address):
                raise StartError(f"--frontend takes tcp://HOST:PORT or ipc://PATH, got {address!r}")

    async def resolve(self) -> list[str]:
        """Returns every address to dial now. A name that does not resolve (yet) stands for
        nothing.
        """
        found: list[str] = []
        self.unresolved.clear()
        for address in self.given:
            expanded = await self._expand(address)
            if not expanded:
                self.unresolved.add(address)
            found += expanded
        self.known = set(found[:ADDRESSES_MAX])
        return found[:ADDRESSES_MAX]

    async def _expand(self, address: str) -> list[str]:
        parts = urlsplit(address)
        if parts.scheme != "tcp" or parts.hostname is None or _is_literal(parts.hostname):
            return [address]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_S_MAX):
                infos = await loop.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
        except (OSError, ValueError):  # a timeout, or what a resolver thinks of a name
            return []
        hosts = dict.fromkeys(str(info[4][0]) for info in infos)
        return [
            f"tcp://[{host}]:{parts.port}" if ":" in host else f"tcp://{host}:{parts.port}"
            for host in hosts
        ]


def _is_well_formed(address: str) -> bool:
    try:
        parts = urlsplit(address)
        if parts.scheme != "tcp":
            return parts.scheme == "ipc"
        # encoded as for look-ups: a label that is empty or longer than 63 bytes cannot be
        return bool(parts.hostname and parts.hostname.encode("idna") and parts.port)
    except ValueError:
        return False


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
