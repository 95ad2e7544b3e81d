"""Where a worker looks for frontends."""

import asyncio
import socket
from typing import Any

import pytest

from protocol.process.start_error import StartError
from workers.mesh import addresses
from workers.mesh.addresses import AddressBook


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "http://host:1",
        "tcp://host",
        "tcp://host:port",
        "tcp://:5550",
        "tcp://[::1:5550",
        "tcp://frontends..example:5550",
        f"tcp://{'a' * 64}.example:5550",
    ],
)
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(StartError):
        AddressBook([address])


async def test_literal_addresses_stand_for_themselves() -> None:
    given = ["tcp://127.0.0.1:5550", "tcp://[::1]:5550", "ipc:///tmp/mesh"]
    book = AddressBook([*given, given[0]])
    assert await book.resolve() == given
    assert book.known == set(given)


@pytest.mark.parametrize("name", ["frontends", "localhost"])
async def test_a_name_stands_for_every_address_behind_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """So does localhost: a frontend that listens on 127.0.0.1 is found where the hosts file names
    ::1 first.
    """

    async def answer(host: str, port: int, **_: Any) -> list[Any]:
        assert host == name
        return [
            (socket.AF_INET, 0, 0, "", ("10.0.0.1", port)),
            (socket.AF_INET6, 0, 0, "", ("fd00::1", port, 0, 0)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
    assert await AddressBook([f"tcp://{name}:5550"]).resolve() == [
        "tcp://10.0.0.1:5550",
        "tcp://[fd00::1]:5550",
    ]


@pytest.mark.parametrize("refusal", [socket.gaierror(), UnicodeError("label too long")])
async def test_a_name_that_a_resolver_refuses_stands_for_nothing(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    async def refuse(*_: Any, **__: Any) -> list[Any]:
        raise refusal

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", refuse)
    book = AddressBook(["tcp://frontends:5550", "tcp://127.0.0.1:1"])
    assert await book.resolve() == ["tcp://127.0.0.1:1"]
    assert book.unresolved == {"tcp://frontends:5550"}


async def test_a_name_server_that_never_answers_holds_up_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silence(*_: Any, **__: Any) -> list[Any]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silence)
    monkeypatch.setattr(addresses, "RESOLVE_S_MAX", 0.01)
    assert await AddressBook(["tcp://frontends:5550", "tcp://127.0.0.1:1"]).resolve() == [
        "tcp://127.0.0.1:1"
    ]
