"""Where HTTP is listened for."""

import socket

import pytest

from frontend.http.listener import listen
from protocol.process.start_error import StartError

has_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        pytest.param("::", ["127.0.0.1", "::1"], marks=has_ipv6),
        pytest.param("::1", ["::1"], marks=has_ipv6),
    ],
)
def test_a_host_is_listened_on_at_all_that_it_stands_for(host: str, reached_at: list[str]) -> None:
    with listen(host, 0) as listener:
        for address in reached_at:
            socket.create_connection((address, listener.getsockname()[1]), timeout=5).close()


@pytest.mark.parametrize("host", ["no:host", "256.1.1.1", "::zz"])
def test_what_is_no_address_is_one_line(host: str) -> None:
    with pytest.raises(StartError, match="cannot serve HTTP on"):
        listen(host, 0)
