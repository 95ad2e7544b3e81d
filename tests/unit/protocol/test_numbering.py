"""Messages of a connection: lost, repeated, late, and of sessions that are over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolViolation
from protocol.limits import WIRE_VERSION
from protocol.numbering import UNNUMBERED, Arrival, Numbering, numbers_of


def _send(numbering: Numbering, count: int) -> list[tuple[int, int]]:
    heads: list[tuple[int, int]] = []
    for _ in range(count):
        heads.append(numbers_of(numbering.head()))
        numbering.note_sent()
    return heads


def test_a_session_counts_from_one_and_what_found_no_room_uses_no_number() -> None:
    sender = Numbering(7)
    assert numbers_of(sender.head()) == numbers_of(sender.head()) == (7, 1)
    assert _send(sender, 3) == [(7, 1), (7, 2), (7, 3)]


def test_outside_of_a_session_messages_bear_the_version_alone() -> None:
    numbering = Numbering()
    assert numbering.head() == WIRE_VERSION
    assert numbers_of(WIRE_VERSION) == (UNNUMBERED, 0)
    assert numbering.arrived(UNNUMBERED, 0) is Arrival.NEXT


@given(st.lists(st.integers(0, 20), max_size=60))
def test_only_the_next_message_is_taken(numbers: list[int]) -> None:
    receiver, expected = Numbering(3), 1
    for number in numbers:
        arrival = receiver.arrived(3, number)
        if number == expected:
            assert arrival is Arrival.NEXT
            expected += 1
        else:
            assert arrival is (Arrival.STALE if number < expected else Arrival.GAP)


@pytest.mark.parametrize(("session", "arrival"), [(2, Arrival.STALE), (4, Arrival.GAP)])
def test_an_old_session_is_over_and_a_newer_one_began_unheard(
    session: int, arrival: Arrival
) -> None:
    assert Numbering(3, received=5).arrived(session, 6) is arrival


@pytest.mark.parametrize(
    "head", [b"", b"\x01\x02", WIRE_VERSION + bytes(11), WIRE_VERSION + bytes(13)]
)
def test_half_a_head_is_a_violation(head: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        numbers_of(head)
