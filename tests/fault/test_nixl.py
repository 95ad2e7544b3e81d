"""Two processes with NIXL: what one has made the other one reads, whatever becomes of the first."""

import importlib.util
import json
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from starter.responder import Responder
from tests.unit.nixl.media_process import asked

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("nixl") is None,
    reason="the Python package nixl is not installed here (nixl[cu12] or nixl[cu13])",
)

PROGRAM = (sys.executable, "-m", "tests.unit.nixl.media_process")
SIZE = 33_554_432 + 4_096
HELPED = "UCX_TLS=posix,sysv,self"
"""Without the kernel's copies from process to process a read needs the other one's help."""
SHORT = "READ_S_MAX=0.5"


class Sides:
    """A door, which can be had again, and a client."""

    def __init__(self, stack: ExitStack, logs: Path) -> None:
        self._stack = stack
        self._logs = logs
        self._count = 0

    def started(self, role: str, *variables: str, use: str = "auto") -> Responder:
        self._count += 1
        log = self._logs / f"{role}{self._count}.log"
        side = self._stack.enter_context(Responder([*PROGRAM, role, use, *variables], log=log))
        if use != "off" and not asked(side, "ready"):
            pytest.skip(f"NIXL has no agent here: {log.read_text()[-500:]}")
        return side


def address_of(door: Responder, *numbers: int) -> str:
    for number in numbers:
        asked(door, "make", number, SIZE)
    return asked(door, "address")


def fetched(client: Responder, address: str, number: int) -> dict[str, Any]:
    told = asked(client, "fetch", address, number, SIZE)
    return {name: told.get(name) for name in ("right", "read", "failure")}


def begin(client: Responder, address: str, number: int) -> None:
    assert client.popen.stdin is not None
    client.popen.stdin.write(f"fetch {address} {number} {SIZE}\n")
    client.popen.stdin.flush()


READ = {"right": True, "read": True, "failure": None}
FRAMES = {"right": True, "read": False, "failure": None}


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Sides]:
    with ExitStack() as stack:
        yield Sides(stack, tmp_path)


@pytest.mark.parametrize("use", ["auto", "network"])
def test_it_is_read_from_process_to_process(sides: Sides, use: str) -> None:
    door, client = (sides.started(role, use=use) for role in ("door", "client"))
    address = address_of(door, 1, 2)
    assert [fetched(client, address, number) for number in (1, 2, 1)] == [READ] * 3
    assert asked(client, "state")["lent"] == 0
    assert (asked(door, "state")["lent"], asked(door, "state")["being_read"]) == (0, 0)


def test_it_is_read_under_a_key(sides: Sides, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    door, client = (sides.started(role, f"KEY={key}") for role in ("door", "client"))
    assert fetched(client, address_of(door, 1), 1) == READ


@pytest.mark.parametrize("without", ["door", "client"])
def test_where_one_has_none_it_comes_in_frames(sides: Sides, without: str) -> None:
    door, client = (
        sides.started(role, use="off" if role == without else "auto") for role in ("door", "client")
    )
    assert fetched(client, address_of(door, 1), 1) == FRAMES


def test_host_and_network_do_not_read_from_each_other(sides: Sides) -> None:
    door, client = sides.started("door"), sides.started("client", use="network")
    assert fetched(client, address_of(door, 1), 1) == FRAMES


def test_a_read_that_takes_too_long_comes_in_frames_and_ends(sides: Sides) -> None:
    door, client = sides.started("door", HELPED), sides.started("client", HELPED, SHORT)
    address = address_of(door, 1, 2)
    asked(door, "hinder")
    assert fetched(client, address, 1) == FRAMES
    assert asked(client, "state")["lent"] >= SIZE  # it is still being written
    assert asked(door, "state")["being_read"] == 1
    asked(door, "help")
    while asked(client, "state")["lent"] or asked(door, "state")["being_read"]:
        pass
    assert fetched(client, address, 2) == FRAMES  # it rests


def test_a_worker_that_dies_while_it_is_read_costs_nobody_else(sides: Sides) -> None:
    door = sides.started("door", HELPED)
    client = sides.started("client", HELPED, SHORT, "ANSWER_S_MAX=3")
    address = address_of(door, 1)
    asked(door, "hinder")
    begin(client, address, 1)
    while not asked(door, "state")["being_read"]:
        pass
    door.popen.kill()
    other = sides.started("door", HELPED)
    assert json.loads(client.answer())["failure"] == "no answer"
    assert fetched(client, address_of(other, 2), 2) == READ


def test_a_reader_that_dies_holds_nothing_for_long(sides: Sides) -> None:
    door = sides.started("door", HELPED, "LEASE_S_MAX=1")
    client, other = (sides.started("client", HELPED) for _ in range(2))
    address = address_of(door, 1, 2)
    asked(door, "hinder")
    begin(client, address, 1)
    while not asked(door, "state")["being_read"]:
        pass
    client.popen.kill()
    while asked(door, "state")["being_read"]:
        pass
    asked(door, "help")
    assert fetched(other, address, 2) == READ


def test_a_worker_that_stood_still_is_read_from_again(sides: Sides) -> None:
    door, client = sides.started("door"), sides.started("client")
    other = sides.started("door")
    address, at_other = address_of(door, 1, 2), address_of(other, 3)
    assert fetched(client, address, 1) == READ
    door.popen.send_signal(signal.SIGSTOP)
    begin(client, address, 2)
    door.popen.send_signal(signal.SIGCONT)
    assert json.loads(client.answer())["right"]
    door.popen.kill()
    assert fetched(client, at_other, 3) == READ
