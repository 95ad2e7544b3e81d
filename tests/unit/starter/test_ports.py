"""Ranges of ports that processes reserve: never twice while both live, and again when one has
ended.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from starter import ports
from starter.ports import FIRST_PORT, LAST_PORT, SLOT_PORTS, NoPorts, reserve_ports
from starter.responder import Responder

PROGRAM = """
import sys
from starter import ports

ports.FIRST_PORT, ports.LAST_PORT = int(sys.argv[1]), int(sys.argv[2])
for count in sys.stdin:
    try:
        print(ports.reserve_ports(int(count)), flush=True)
    except ports.NoPorts as error:
        print(error, flush=True)
"""


class Reserving:
    """Another test run on this host: reserves when it is told to, and lives until it is ended."""

    def __init__(self, directory: Path, first: int) -> None:
        bounds = (first, first + 3 * SLOT_PORTS)
        self._responder = Responder(
            [sys.executable, "-c", PROGRAM, *bounds], environment={"TMPDIR": str(directory)}
        )

    def reserve(self, count: int) -> str:
        """The first port, or why there is none."""
        return self._responder.ask(str(count))

    def end(self, *, by_kill: bool = False) -> None:
        if by_kill:
            self._responder.popen.kill()
        self._responder.close()


@pytest.fixture(scope="module")
def first() -> int:
    """Ports that nobody else on this host takes meanwhile; the locks under test lie in a directory
    of their own.
    """
    return reserve_ports(3 * SLOT_PORTS)


@pytest.fixture
def processes(tmp_path: Path, first: int) -> Iterator[list[Reserving]]:
    """Three of them on a host with ports for three slots."""
    started = [Reserving(tmp_path, first) for _ in range(3)]
    yield started
    for process in started:
        process.end()


def descriptors() -> set[str]:
    """Those of this process."""
    return {each.name for each in Path("/proc/self/fd").iterdir()}


def ports_of(answer: str, count: int) -> set[int]:
    return set(range(int(answer), int(answer) + count))


@pytest.mark.parametrize("by_kill", [False, True])
def test_processes_never_share_a_range_and_a_range_is_free_when_its_process_has_ended(
    processes: list[Reserving], by_kill: bool
) -> None:
    one, second, third = processes
    ranges = [
        ports_of(process.reserve(count), count)
        for process, count in ((one, 1), (second, SLOT_PORTS), (third, 3))
    ]
    assert len(set.union(*ranges)) == sum(map(len, ranges))
    assert "found no 1 free ports" in second.reserve(1)
    one.end(by_kill=by_kill)
    again = ports_of(second.reserve(1), 1)
    assert again == ranges[0]
    assert "found no 1 free ports" in third.reserve(1)


def test_ranges_of_several_slots_do_not_overlap_either(processes: list[Reserving]) -> None:
    one, other, _ = processes
    long = SLOT_PORTS + 1
    taken = ports_of(one.reserve(long), long)
    assert ports_of(other.reserve(SLOT_PORTS), SLOT_PORTS).isdisjoint(taken)
    assert "found no" in other.reserve(1)  # two slots and one of three


@pytest.fixture
def own_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> int:
    """This process's own reservations, out of three slots; the first port."""
    monkeypatch.setattr(ports.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(ports, "FIRST_PORT", first)
    monkeypatch.setattr(ports, "LAST_PORT", first + 3 * SLOT_PORTS)
    return first


def test_one_process_does_not_get_a_range_twice(own_range: int) -> None:
    starts = [reserve_ports(SLOT_PORTS) for _ in range(3)]
    assert sorted(starts) == [own_range + number * SLOT_PORTS for number in range(3)]
    with pytest.raises(
        NoPorts, match=rf"found no {SLOT_PORTS} free ports in a row between {own_range} and "
    ):
        reserve_ports(SLOT_PORTS)


@pytest.mark.parametrize("offset", [0, 2])
def test_a_range_with_a_port_that_another_program_has_is_passed_over(
    own_range: int, offset: int
) -> None:
    with socket.create_server(("127.0.0.1", own_range + SLOT_PORTS + offset)):
        starts = {reserve_ports(3), reserve_ports(3)}
        assert starts == {own_range, own_range + 2 * SLOT_PORTS}
        with pytest.raises(NoPorts):
            reserve_ports(3)


def test_ports_that_are_not_asked_for_may_be_taken(own_range: int) -> None:
    with socket.create_server(("127.0.0.1", own_range + 3)):
        assert len({reserve_ports(3) for _ in range(3)}) == 3


@pytest.mark.parametrize("count", [3 * SLOT_PORTS + 1, 10_000])
def test_more_ports_than_there_are_is_an_error(own_range: int, count: int) -> None:
    with pytest.raises(NoPorts, match=f"found no {count} free ports"):
        reserve_ports(count)


def test_a_lock_that_could_not_be_had_whole_is_given_back(own_range: int) -> None:
    """Ranges of two slots cannot both lie in three; the one that failed must not keep the third."""
    reserve_ports(2 * SLOT_PORTS)
    with pytest.raises(NoPorts):
        reserve_ports(2 * SLOT_PORTS)
    reserve_ports(1)


def test_a_search_that_found_nothing_keeps_neither_locks_nor_descriptors(
    own_range: int, processes: list[Reserving]
) -> None:
    with ExitStack() as others:
        for slot in range(3):
            others.enter_context(socket.create_server(("127.0.0.1", own_range + slot * SLOT_PORTS)))
        before = descriptors()
        with pytest.raises(NoPorts):
            reserve_ports(1)
        assert descriptors() == before
    assert {int(process.reserve(1)) for process in processes} == {
        own_range + slot * SLOT_PORTS for slot in range(3)
    }


def test_the_whole_range_lies_below_the_ports_of_outgoing_connections() -> None:
    assert 1_024 <= FIRST_PORT < LAST_PORT <= 32_768
    assert (LAST_PORT - FIRST_PORT) % SLOT_PORTS == 0
