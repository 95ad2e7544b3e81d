"""Media are fetched from the hosts that the operator named, and from nowhere inside the house.

What is connected to is the very address that was checked, so that a name which means another one a
moment later gains nothing; each redirect is checked like the first URL. Neither proxies of the
environment nor cookies play a part, and nothing is decompressed.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from ipaddress import ip_address
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import httpcore

from frontend.media.bounds import MediaBounds
from frontend.media.data_urls import too_large
from frontend.media.hosts import MediaHosts, canonical
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest

URL_CHARS_MAX: Final = 8_192
"""Bounds a URL, as servers do; signed ones have some two thousand."""

_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f\\]")
"""Finds what two readers of a URL would read in two ways."""

_KEPT: Final = "".join(map(chr, range(0x21, 0x7F)))
"""Are the characters that a URL may be sent with; others are escaped, as browsers do."""

_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADERS: Final = [("accept-encoding", "identity"), ("accept", "image/*, video/*, audio/*")]
_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    OSError,
)
"""What a fetch may fail with is told in the same words, so that nobody learns from them which
addresses and ports answer.
"""


class Fetcher:
    """A Fetcher fetches media over HTTP.

    Args:
        hosts: those that may be asked.
    """

    def __init__(self, hosts: MediaHosts, bounds: MediaBounds) -> None:
        self._hosts = hosts
        self._bounds = bounds
        self._places = asyncio.Semaphore(bounds.fetches_max)
        of_entry_max = bounds.fetches_of_entry_max if len(hosts) > 1 else bounds.fetches_max
        self._places_of = [asyncio.Semaphore(of_entry_max) for _ in range(len(hosts))]
        self._pool = httpcore.AsyncConnectionPool(
            # as many as there are places: who waits in the pool would wait on its fetch's time
            max_connections=bounds.fetches_max,
            max_keepalive_connections=0,
            ssl_context=_trusting(),
            network_backend=_CheckedNetwork(hosts, bounds.fetches_max),
        )

    async def fetch(self, source: MediaSource) -> bytes:
        """Returns what lies behind a URL.

        Raises:
            InvalidRequest: its host is not on the list, it cannot be had, or it is too large.
        """
        target = self._checked("", source.url, source.param)
        async with self._places_of[target.entry], self._places:
            try:
                async with asyncio.timeout(self._bounds.fetch_s_max):
                    return await self._follow(target, source.param)
            except (*_FAILURES, TimeoutError):
                raise InvalidRequest("The URL could not be fetched.", param=source.param) from None

    async def _follow(self, target: "_Target", param: str) -> bytes:
        for left in reversed(range(1 + self._bounds.redirects_max)):
            async with self._pool.stream(
                "GET", target.url, headers=[("host", target.host_header), *_HEADERS]
            ) as response:
                if response.status not in _REDIRECTS:
                    return await self._body(response, param)
                location = dict(_lowered(response.headers)).get(b"location", b"")
            if left:
                target = self._checked(target.url, quote(location, _KEPT), param)
        raise InvalidRequest("The URL redirects too often.", param=param)

    def _checked(self, base: str, url: str, param: str) -> "_Target":
        """Returns what a URL, relative to another one, asks of whom, if it may be asked."""
        if len(url) > URL_CHARS_MAX or _NOT_IN_URLS.search(url):
            raise InvalidRequest(
                "The URL is too long, or has spaces, backslashes or control characters.",
                param=param,
            )
        try:
            parts = urlsplit(urljoin(base, url))
            usual = _PORTS[parts.scheme]
            port = usual if parts.port is None else parts.port
            host = canonical(parts.hostname or "")
            path, query = quote(parts.path, _KEPT), quote(parts.query, _KEPT)
        except (ValueError, KeyError):
            raise InvalidRequest(
                "The URL must be a data URL, or of http or https.", param=param
            ) from None
        entry = self._hosts.entry_of(host, port)
        if parts.username is not None or entry is None:
            raise InvalidRequest(
                "This server fetches nothing from that host; a data URL works from anywhere.",
                param=param,
            )
        at = f"[{host}]" if ":" in host else host
        at = at if port == usual else f"{at}:{port}"
        asked = parts._replace(netloc=at, path=path, query=query, fragment="")
        return _Target(asked.geturl(), at, entry)

    async def _body(self, response: httpcore.Response, param: str) -> bytes:
        if response.status != 200:
            raise InvalidRequest(
                f"The URL could not be fetched: HTTP {response.status}.", param=param
            )
        body = bytearray()
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > self._bounds.item_bytes_max:
                raise too_large(self._bounds.item_bytes_max, param)
        return bytes(body)


class _Target(NamedTuple):
    """A _Target is a URL that was checked, how its host is named to itself, and the number of the
    entry that lists it.
    """

    url: str
    host_header: str
    entry: int


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """A _CheckedNetwork connects to addresses that the list of hosts admits, all of a name's or
    none.
    """

    def __init__(self, hosts: MediaHosts, threads: int) -> None:
        self._hosts = hosts
        # A name server that does not answer holds a thread long after nobody waits any more, and
        # the loop's own are for other work too.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="media-names")
        self._network: Any = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, _look_up, host, port
        )
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        if not all(self._hosts.admits(host, port, ip_address(each)) for each in addresses):
            raise OSError("the host has an address that it may not have")
        for last in addresses:
            try:
                return await self._network.connect_tcp(
                    last, port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError:
                if last == addresses[-1]:
                    raise
        raise OSError("the host has no address")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _look_up(host: str, port: int) -> list[Any]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _lowered(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    return ((name.lower(), value) for name, value in headers)


@cache
def _trusting() -> ssl.SSLContext:
    """Returns what servers' certificates are checked with. To read the authorities takes 0.1 s and
    more, which the loop would stand still for at each connection.
    """
    return httpcore.default_ssl_context()
