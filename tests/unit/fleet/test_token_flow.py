from typing import Any

import pytest

from frontend.fleet.hit_rate import MEMORY_S, HitRate
from frontend.fleet.token_flow import TokenFlow


class Leg:
    """What a TokenFlow reads of a stream."""

    told_at_once = True
    finished = None
    queue_s = 0.5

    def __init__(self, sent_at: float, begun_at: float, tokens: int) -> None:
        self.sent_at, self.begun_at, self.tokens_received = sent_at, begun_at, tokens


def leg(sent_at: float, begun_at: float, tokens: int) -> Any:
    return Leg(sent_at, begun_at, tokens)


def test_what_runs_and_what_ended_add_up_the_same() -> None:
    flow = TokenFlow()
    one, two = leg(0.0, 1.0, 11), leg(0.0, 2.0, 5)
    first, begun = flow.read([one, two], 3.0)
    assert (first.tokens, first.streamed_tokens, first.streaming_s) == (16, 14, 3.0)
    assert sorted(begun) == [1.5, 2.5]  # with the time in the queue
    one.tokens_received = 21
    flow.note_end(one, 4.0)
    two.tokens_received = 7
    second, begun = flow.read([two], 5.0)
    assert (second.tokens, second.streamed_tokens, second.streaming_s) == (28, 26, 6.0)
    assert begun == []  # each first token is told once


def test_what_begins_and_ends_between_two_readings_is_told_once() -> None:
    flow = TokenFlow()
    flow.read([], 1.0)
    flow.note_end(leg(1.0, 1.25, 3), 1.5)
    assert flow.read([], 2.0)[1] == [0.75]
    assert flow.read([], 3.0)[1] == []


def test_answers_that_come_as_a_whole_say_nothing_of_times() -> None:
    flow, whole = TokenFlow(), leg(0.0, 5.0, 100)
    whole.told_at_once = False
    flow.note_end(whole, 5.0)
    told, begun = flow.read([], 6.0)
    assert (told.tokens, told.streamed_tokens, told.streaming_s, begun) == (100, 0, 0.0, [])


def test_a_hit_rate_follows_the_load_and_is_forgotten() -> None:
    rate = HitRate()
    assert rate.share(0.0) is None
    rate.note(100, 0, 10.0)
    assert rate.share(10.0) == 0.0
    rate.note(100, 100, 10.0)
    assert rate.share(11.0) == pytest.approx(0.5)
    rate.note(100, 100, 10.0 + 3 * MEMORY_S)
    assert 0.9 < (rate.share(10.0 + 3 * MEMORY_S) or 0) < 1.0
    assert rate.share(10.0 + 20 * MEMORY_S) is None
