import pytest

from protocol.own_host import names_this_host


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "LOCALHOST:80",
        "a.localhost",
        "127.0.0.1:8000",
        "10.1.2.3",
        "[::1]",
        "[fe80::1]:80",
    ],
)
def test_names_that_no_dns_can_turn(host: str) -> None:
    assert names_this_host(host.encode())


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8000",
        "localhost.evil.example",
        "notlocalhost",
        "[x",
        "1.2.3",
    ],
)
def test_other_names(host: str) -> None:
    assert not names_this_host(host.encode())
