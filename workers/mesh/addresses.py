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
            parts = urlsplit(address)
            if parts.scheme not in ("tcp", "ipc") or (
                parts.scheme == "tcp" and not (parts.hostname and _port(address))
            ):
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
                infos = await loop.getaddrinfo(
                    parts.hostname, _port(address), type=socket.SOCK_STREAM
                )
        except OSError:  # TimeoutError is one
            return []
        hosts = dict.fromkeys(str(info[4][0]) for info in infos)
        return [
            f"tcp://[{host}]:{_port(address)}" if ":" in host else f"tcp://{host}:{_port(address)}"
            for host in hosts
        ]


def _port(address: str) -> int | None:
    try:
        return urlsplit(address).port
    except ValueError:
        return None


def _is_literal(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
