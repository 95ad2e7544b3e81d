"""Which hosts media are fetched from, and which addresses such a host may have.

A frontend stands inside a house, and a URL of a client's could name anything there. So only hosts
that the operator named are asked, and what their names come to must lie outside, unless he said
where it lies.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from protocol.limits import PORT_MAX

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ENTRY: Final = re.compile(
    r"(?P<below>\*\.)?(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:(?P<port>\d{1,5}))?(=(?P<network>[0-9a-f:./]+))?"
)
_NAME: Final = re.compile(r"[a-z0-9_.-]+")
_USUAL_PORTS: Final = frozenset({80, 443})
_ALSO_INSIDE: Final[tuple[Network, ...]] = (
    # Versions of Python differ in what they call global.
    IPv4Network("192.0.0.0/24"),  # for protocols; 192.0.0.192 has told hosts of Oracle's their keys
    IPv4Network("192.88.99.0/24"),  # relays of 6to4
    IPv4Network("168.63.129.16/32"),  # what Azure tells its virtual machines, in every one of them
    IPv6Network("3fff::/20"),  # documentation
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")


@dataclass(frozen=True, slots=True)
class _Named:
    """A _Named is an entry of the operator's list."""

    host: str
    port: int | None
    network: Network | None

    def covers(self, host: str, port: int) -> bool:
        named = host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host
        return named and (port in _USUAL_PORTS if self.port is None else port == self.port)


class MediaHosts:
    """A MediaHosts holds the operator's list of hosts.

    Args:
        entries: `NAME`, `*.NAME` for all below it, either with `:PORT` (else 80 and 443), and
        either with `=NETWORK`, where it may lie inside the house: `store.lan:9000=10.0.0.0/8`. An
        address may stand for a name, and then means itself.
    Raises:
        ValueError: one is none of these; the message names it.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        self._named = [_named(entry) for entry in entries]

    def __bool__(self) -> bool:
        """Tells whether anything is fetched at all."""
        return bool(self._named)

    def __len__(self) -> int:
        return len(self._named)

    def entry_of(self, host: str, port: int) -> int | None:
        """Returns the number of the first entry that covers a host, which is as `canonical` writes
        it; None where the host is not on the list.
        """
        covering = (at for at, named in enumerate(self._named) if named.covers(host, port))
        return next(covering, None)

    def admits(self, host: str, port: int, address: Address) -> bool:
        """Tells whether a host of the list may have this address."""
        return is_outside(address) or any(
            named.network is not None and address in named.network
            for named in self._named
            if named.covers(host, port)
        )


def canonical(host: str) -> str:
    """Returns the one spelling of a host's name: in small letters, as DNS knows it, without a last
    dot; of an IPv6 address the shortest, without brackets.

    Raises:
        ValueError: it is no name.
    """
    if ":" in host:
        return str(ip_address(host))
    name = host.rstrip(".").encode("idna").decode().lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{host!r} is no name of a host")
    return name


def is_outside(address: Address) -> bool:
    """Tells whether an address is one of the open internet, also where it is an IPv6 address that
    stands for an IPv4 address.
    """
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_outside(inner)
        if address.is_site_local:
            return False
    if any(address in network for network in _ALSO_INSIDE):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Returns the IPv4 address that packets to an IPv6 address go to, in the end."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _named(entry: str) -> _Named:
    match = _ENTRY.fullmatch(entry.strip().lower())
    if match is None:
        raise ValueError(f"{entry!r} is no host: NAME, *.NAME, NAME:PORT or NAME=NETWORK")
    port, network = match["port"], match["network"]
    try:
        below, name = match["below"] or "", match["name"].strip("[]")
        host = below + canonical(name)
        inside = ip_network(network) if network else _itself(host)
    except ValueError as error:
        raise ValueError(f"{entry!r}: {error}") from None
    if port and not 0 < int(port) <= PORT_MAX:
        raise ValueError(f"{entry!r}: a port is 1 to {PORT_MAX}")
    return _Named(host, int(port) if port else None, inside)


def _itself(host: str) -> Network | None:
    """Returns the network of an address alone; None of a name."""
    try:
        return ip_network(ip_address(host))
    except ValueError:
        return None
