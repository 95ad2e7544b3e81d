"""Which hosts media come from, and where those may lie."""

from ipaddress import ip_address

import pytest

from frontend.media.hosts import MediaHosts, canonical, is_outside

INSIDE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.0.192",
    "192.88.99.1",
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "::ffff:0:127.0.0.1",
    "fe80::1%eth0",
    "3fff::1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "2001:0:0:0:0:0:f5ff:fffe",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_of_the_house_is_outside(address: str) -> None:
    assert not is_outside(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::1.1.1.1"])
def test_the_internet_is_outside(address: str) -> None:
    assert is_outside(ip_address(address))


@pytest.mark.parametrize(
    ("entry", "host", "port", "has"),
    [
        ("a.example", "a.example", 443, True),
        ("a.example", "a.example", 80, True),
        ("a.example", "a.example", 22, False),
        ("a.example", "b.a.example", 443, False),
        ("A.Example:8443", "a.example", 8443, True),
        ("a.example:8443", "a.example", 443, False),
        ("*.a.example", "b.a.example", 443, True),
        ("*.a.example", "a.example", 443, False),
        ("*.a.example", "b-a.example", 443, False),
        ("127.0.0.1:9000", "127.0.0.1", 9000, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[0:0::1]:9000", "::1", 9000, True),
        ("a.example.", "a.example", 443, True),
        ("127.0.0.1", "2130706433", 80, False),
        ("127.0.0.1", "0x7f000001", 80, False),
        ("127.0.0.1", "127.1", 80, False),
    ],
)
def test_a_host_is_on_the_list_by_its_name_and_port(
    entry: str, host: str, port: int, has: bool
) -> None:
    assert (MediaHosts([entry]).entry_of(host, port) is not None) is has


@pytest.mark.parametrize(
    ("entry", "address", "admits"),
    [
        ("a.example", "1.1.1.1", True),
        ("a.example", "10.1.2.3", False),
        ("a.example=10.0.0.0/8", "10.1.2.3", True),
        ("a.example=10.0.0.0/8", "192.168.0.1", False),
        ("a.example=10.0.0.0/8", "1.1.1.1", True),
        ("a.example=fd00::/8", "fd00::1", True),
        ("a.example=fd00::/8", "10.0.0.1", False),
    ],
)
def test_a_name_lies_outside_or_where_the_operator_said(
    entry: str, address: str, admits: bool
) -> None:
    assert MediaHosts([entry]).admits("a.example", 443, ip_address(address)) is admits


def test_an_address_on_the_list_means_itself() -> None:
    hosts = MediaHosts(["127.0.0.1:9000"])
    assert hosts.admits("127.0.0.1", 9000, ip_address("127.0.0.1"))
    assert not hosts.admits("127.0.0.1", 80, ip_address("127.0.0.1"))


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "http://a.example",
        "a.example/x",
        "a b",
        "a=10.0.0.1/8",
        "a..b",
        "a.example:0",
        "a.example:65536",
        "*",
    ],
)
def test_what_is_no_host_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=entry.replace("*", r"\*") or "''"):
        MediaHosts([entry])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("A.Example.", "a.example"),
        ("\uff41.example", "a.example"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("0:0:0:0:0:0:0:1", "::1"),
    ],
)
def test_a_host_has_one_spelling(written: str, meant: str) -> None:
    assert canonical(written) == meant


@pytest.mark.parametrize("written", ["", "..", "a" * 64, "127.0.0.1%2f.example", "a*b", "::g"])
def test_what_is_no_name_has_none(written: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        canonical(written)
