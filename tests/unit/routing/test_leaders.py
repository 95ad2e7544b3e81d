"""Who waits for whom: requests that share what another one has yet to compute on their rank."""

from types import SimpleNamespace
from typing import Any

import pytest

from frontend.routing.leaders import SHARED_TOKENS_MIN, Leaders
from frontend.routing.route import Placement, RouteRequest
from protocol.tokens import pack_tokens

BLOCK = 64
LONG = 2 * SHARED_TOKENS_MIN
RANK = SimpleNamespace(key=("w", 0), block_size_tokens=BLOCK)


def placed(cached: int, rank: Any = RANK) -> Placement[Any]:
    return Placement(rank, cached)


def prompt(shared: int, own: int, number: int = 0) -> RouteRequest:
    return RouteRequest(
        pack_tokens([*range(shared), *range(10_000 * (number + 1), 10_000 * (number + 1) + own)])
    )


@pytest.fixture
def leaders() -> Leaders[str]:
    return Leaders()


def test_who_shares_what_another_one_computes_waits_for_it_and_no_longer(
    leaders: Leaders[str],
) -> None:
    leaders.lead("first", placed(0), prompt(LONG, 64))
    leader = leaders.find(placed(LONG), prompt(LONG, 64, 1))
    assert leader is not None
    leaders.follow(leader, "second", "sent second")
    again = leaders.find(placed(LONG), prompt(LONG, 64, 2))
    assert again == leader
    leaders.follow(leader, "third", "sent third")
    assert leaders.computed("first") == ["sent second", "sent third"]
    assert leaders.computed("first") == []
    assert leaders.find(placed(LONG), prompt(LONG, 64, 3)) is None
    assert not len(leaders)


@pytest.mark.parametrize(
    ("cached", "shared", "rank"),
    [
        (0, LONG, RANK),
        (SHARED_TOKENS_MIN - BLOCK, LONG, RANK),
        (LONG, 0, RANK),
        (
            LONG,
            LONG,
            SimpleNamespace(key=("w", 1), block_size_tokens=BLOCK),
        ),
        (
            LONG,
            LONG,
            SimpleNamespace(key=("v", 0), block_size_tokens=BLOCK),
        ),
    ],
    ids=["nothing cached", "little shared", "another prompt", "another rank", "another worker"],
)
def test_nobody_waits_who_would_not_share_much(
    leaders: Leaders[str], cached: int, shared: int, rank: Any
) -> None:
    leaders.lead("first", placed(0), prompt(LONG, 64))
    assert leaders.find(placed(cached, rank), prompt(shared, LONG, 1)) is None


def test_only_what_is_yet_to_be_computed_is_waited_for(leaders: Leaders[str]) -> None:
    leaders.lead("goes on", placed(LONG), prompt(2 * LONG, 64))
    assert leaders.find(placed(LONG), prompt(LONG, LONG, 1)) is None
    assert leaders.find(placed(LONG + SHARED_TOKENS_MIN), prompt(2 * LONG, 64, 2)) is not None


def test_a_prompt_with_little_to_compute_leads_nobody(leaders: Leaders[str]) -> None:
    leaders.lead("short", placed(0), prompt(SHARED_TOKENS_MIN - 1, 0))
    leaders.lead("cached", placed(LONG), prompt(LONG, SHARED_TOKENS_MIN - 1))
    assert leaders.find(placed(LONG), prompt(LONG, 64, 1)) is None


def test_nobody_waits_for_one_of_a_lower_priority(leaders: Leaders[str]) -> None:
    leaders.lead("first", placed(0), prompt(LONG, 64), priority=1)
    assert leaders.find(placed(LONG), prompt(LONG, 64, 1), priority=2) is None
    assert leaders.find(placed(LONG), prompt(LONG, 64, 1), priority=1) is not None


def test_the_first_one_leads_as_long_as_it_computes(leaders: Leaders[str]) -> None:
    leaders.lead("first", placed(0), prompt(LONG, 64))
    leaders.lead("second", placed(0), prompt(LONG, 64, 1))
    assert leaders.computed("second") == []
    assert leaders.find(placed(LONG), prompt(LONG, 64, 2)) == "first"


def test_who_left_is_not_sent(leaders: Leaders[str]) -> None:
    leaders.lead("first", placed(0), prompt(LONG, 64))
    leader = leaders.find(placed(LONG), prompt(LONG, 64, 1))
    assert leader is not None
    leaders.follow(leader, "leaves", "sent")
    leaders.follow(leader, "stays", "sent too")
    assert leaders.drop("leaves")
    assert not leaders.drop("leaves")
    assert leaders.computed("first") == ["sent too"]


def test_nothing_is_kept_of_those_that_ended(leaders: Leaders[str]) -> None:
    for number in range(3):
        leaders.lead(str(number), placed(0), prompt(0, LONG, number))
    for number in range(3):
        leaders.computed(str(number))
    assert not any(vars(leaders).values())
