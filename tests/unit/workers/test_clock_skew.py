"""Deadlines are meant by the clock of whoever sets them."""

import pytest

from protocol.embedding import Embed
from protocol.encoding import Encode
from protocol.generation import Generate, Sampling
from protocol.requests import Abort, FrontendHeartbeat, Tokenize
from tests.unit.workers.test_one_sick_request import Line
from workers.mesh.clock_skew import NOTED_FROM_MS, TOLD_MAX, ClockSkew


@pytest.mark.parametrize("ahead_ms", [-7_200_000, -100, 100, 7_200_000])
def test_of_times_that_were_told_the_quickest_to_arrive_counts(ahead_ms: int) -> None:
    skew = ClockSkew()
    for way_ms in (30, 2_000, 3, 500):
        skew.note(1_000_000, 1_000_000 + ahead_ms + way_ms)
    assert skew.ahead_ms == ahead_ms + 3


def test_the_way_of_a_message_is_no_skew_and_a_clock_that_was_set_is_known_soon() -> None:
    skew = ClockSkew()
    skew.note(0, NOTED_FROM_MS - 1)
    assert skew.ahead_ms == 0
    for _ in range(TOLD_MAX):
        skew.note(0, 9_000)
    assert skew.ahead_ms == 9_000
    skew.note(0, 1)
    assert skew.ahead_ms == 0


async def test_what_has_a_deadline_is_handed_on_with_one_by_our_clock() -> None:
    line = Line()  # where it is 1,000,000 ms
    messages = [
        Generate("1" * 32, "m", b"", Sampling(1), 5_000),
        Embed("1" * 32, "m", b"", 5_000),
        Encode("1" * 32, "m", [], 5_000),
        Tokenize("1" * 32, "m", 5_000),
    ]
    for message in messages:
        line.say(message)
    line.say(FrontendHeartbeat())
    line.say(Abort("1" * 32))
    assert line.asked == [*messages, Abort("1" * 32)]
    line.asked.clear()
    line.say(FrontendHeartbeat(4_000))
    for message in messages:
        line.say(message)
    assert [message.deadline_unix_ms for message in line.asked] == [1_001_000] * 4
