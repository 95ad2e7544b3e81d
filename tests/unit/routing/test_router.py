"""The router: pins, sessions, predictions; and the policies that look at load alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, get_args

import pytest

from frontend.routing import sessions
from frontend.routing.policies.kv_aware import KvAware
from frontend.routing.policies.least_loaded import LeastLoaded
from frontend.routing.policies.modes import policy_of
from frontend.routing.policies.power_of_two import PowerOfTwo
from frontend.routing.policies.random_choice import RandomChoice
from frontend.routing.policies.round_robin import RoundRobin
from frontend.routing.policy import Policy
from frontend.routing.route import BLOCK_TOKENS, Placement, RouteRequest, Weights
from frontend.routing.router import Lifetimes, Router, RouterMode, unmet_pins
from frontend.routing.sessions import Sessions
from kv_events.index import BlockBudget, Overlap, RankBlocks, overlaps
from protocol.errors import InvalidRequest
from protocol.kv_stream import GPU, HOST
from tests.unit.routing.ranks import FakeRank, RecordingBlocks, fleet, prompt

LIFETIMES = Lifetimes(predicted_s=10.0, assumed_s=120.0, session_s=300.0)
MODES: tuple[RouterMode, ...] = get_args(RouterMode)


def router(
    mode: RouterMode = "kv",
    *,
    lifetimes: Lifetimes = LIFETIMES,
    seed: int = 0,
    policy: Policy | None = None,
) -> Router:
    return Router(mode, policy or policy_of(mode, Weights(), Random(seed)), lifetimes)


def send(chooser: Router, ranks: list[FakeRank], route: RouteRequest, now: float = 0.0) -> FakeRank:
    """As the mesh does: choose, send, note."""
    placement = chooser.choose(ranks, route, now)
    chooser.placed(placement, route, now)
    return placement.rank


def grid() -> list[FakeRank]:
    """Two workers of two ranks."""
    return [FakeRank(worker_id, dp_rank) for worker_id in ("a", "b") for dp_rank in (0, 1)]


@pytest.mark.parametrize(
    ("pin", "keys"),
    [
        ({}, [("a", 0), ("a", 1), ("b", 0), ("b", 1)]),
        ({"worker_id": "b"}, [("b", 0), ("b", 1)]),
        ({"dp_rank": 0}, [("a", 0), ("b", 0)]),
        ({"worker_id": "a", "dp_rank": 1}, [("a", 1)]),
    ],
)
def test_a_pin_leaves_the_ranks_that_it_names(
    pin: dict[str, Any], keys: list[tuple[str, int]]
) -> None:
    route = prompt(100, **pin)
    assert [rank.key for rank in grid() if route.admits(rank.key)] == keys
    assert route.pinned == bool(pin)


@pytest.mark.parametrize(
    ("pin", "text"),
    [
        ({"worker_id": "c"}, "No worker 'c' serves this model."),
        ({"dp_rank": 2}, "No worker with data-parallel rank 2 serves this model."),
        (
            {"worker_id": "a", "dp_rank": 7},
            "No worker 'a' with data-parallel rank 7 serves this model.",
        ),
        ({"worker_id": ""}, "No worker '' serves this model."),
        (
            {"worker_id": "d", "prefill_worker_id": "p"},
            "No worker 'd' together with prefill worker 'p' serves this model.",
        ),
    ],
)
def test_a_pin_to_what_is_not_there_is_the_clients_error(pin: dict[str, Any], text: str) -> None:
    error = unmet_pins(prompt(100, **pin))
    assert isinstance(error, InvalidRequest)
    assert (error.message, error.param) == (text, "nvext")


@pytest.mark.parametrize("mode", MODES)
def test_a_session_stays_on_its_rank_in_every_mode(mode: RouterMode) -> None:
    ranks, chooser = fleet(5), router(mode)
    home = send(chooser, ranks, prompt(100, session_id="s"))
    home.requests, home.kv_tokens = 50, 10_000_000  # however loaded
    for seed in range(1, 20):
        assert send(chooser, ranks, prompt(100, seed, session_id="s")) is home
    others = {send(chooser, ranks, prompt(100, seed)).key for seed in range(30, 60)}
    assert len(others) > 1


def test_a_session_expires_when_it_was_silent_too_long_and_each_request_renews_it() -> None:
    ranks, chooser = fleet(2), router("least-loaded")
    home = send(chooser, ranks, prompt(9, session_id="s"), now=0.0)
    home.requests = 9
    almost = LIFETIMES.session_s - 1
    assert send(chooser, ranks, prompt(9, session_id="s"), now=almost) is home
    assert send(chooser, ranks, prompt(9, session_id="s"), now=2 * almost) is home
    assert (
        send(chooser, ranks, prompt(9, session_id="s"), now=2 * almost + LIFETIMES.session_s)
        is not home
    )


def test_a_session_whose_rank_has_no_room_moves_and_stays_there() -> None:
    ranks, chooser = fleet(2), router("least-loaded")
    first = send(chooser, ranks, prompt(9, session_id="s"))
    second = next(rank for rank in ranks if rank is not first)
    assert send(chooser, [second], prompt(9, session_id="s")) is second
    second.requests = 9
    assert send(chooser, ranks, prompt(9, session_id="s")) is second


def test_a_session_is_bound_by_what_was_sent_not_by_what_was_chosen() -> None:
    ranks, chooser = fleet(2), router("least-loaded")
    chosen = chooser.choose(ranks, prompt(9, session_id="s"), 0.0).rank
    chosen.requests = 9
    assert chooser.choose(ranks, prompt(9, session_id="s"), 0.0).rank is not chosen


def test_a_pin_wins_over_a_session() -> None:
    ranks, chooser = grid(), router("least-loaded")
    home = send(chooser, [ranks[0]], prompt(9, session_id="s"))
    pinned = prompt(9, session_id="s", worker_id="b", dp_rank=1)
    assert home is ranks[0]
    assert send(chooser, [rank for rank in ranks if pinned.admits(rank.key)], pinned) is ranks[3]


def test_sessions_without_a_lifetime_are_not_kept() -> None:
    known = Sessions(0.0)
    known.note("s", ("w", 0), now=1.0)
    assert known.rank_of("s", now=1.0) is None


def test_sessions_are_bounded_and_those_unused_for_longest_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 3)
    known = Sessions(60.0)
    for number in range(3):
        known.note(f"s{number}", ("w", number), now=0.0)
    known.note("s0", ("w", 9), now=1.0)
    known.note("s3", ("w", 3), now=2.0)
    assert [known.rank_of(f"s{number}", now=3.0) for number in range(4)] == [
        ("w", 9),
        None,
        ("w", 2),
        ("w", 3),
    ]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "kv"])
def test_only_the_kv_mode_predicts(mode: RouterMode) -> None:
    ranks, chooser = fleet(2), router(mode)
    send(chooser, ranks, prompt(10 * BLOCK_TOKENS))
    assert [rank.blocks.predictions for rank in ranks] == [[], []]
    assert [len(rank.blocks) for rank in ranks] == [0, 0]


def test_where_events_tell_what_is_not_in_gpu_memory_is_predicted_and_for_a_short_time() -> None:
    (rank,), chooser, route = fleet(1), router(), prompt(10 * BLOCK_TOKENS + 3)
    rank.hold(route, 4, 2)
    hashes = route.blocks(BLOCK_TOKENS)
    send(chooser, [rank], route, now=5.0)
    # What lies on the host is about to be loaded into GPU memory.
    assert rank.blocks.predictions == [(hashes, 5.0 + LIFETIMES.predicted_s)]
    rank.blocks.expire(5.0 + LIFETIMES.predicted_s - 0.5)
    assert set(rank.blocks.places) == set(hashes)
    assert overlaps([rank.blocks], hashes) == [Overlap(10)]
    rank.blocks.expire(5.0 + LIFETIMES.predicted_s)
    assert set(rank.blocks.places) == set(hashes[:6])
    assert overlaps([rank.blocks], hashes) == [Overlap(4, 2)]


def test_what_most_is_held_of_a_prompt_is_told_and_ranks_that_hold_the_same_are_walked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    walked: list[RankBlocks] = []
    overlap = RankBlocks.overlap

    def counted(blocks: RankBlocks, hashes: Sequence[int]) -> Overlap:
        walked.append(blocks)
        return overlap(blocks, hashes)

    monkeypatch.setattr(RankBlocks, "overlap", counted)
    ranks, chooser, route = fleet(5), router(), prompt(10 * BLOCK_TOKENS)
    for rank in ranks[:4]:
        rank.hold(route, 3)
    assert chooser.cached_tokens(ranks, route) == 3 * BLOCK_TOKENS
    assert walked == [ranks[0].blocks]
    other = FakeRank("other", block_size_tokens=2 * BLOCK_TOKENS)
    other.hold(route, 1, 1)
    assert chooser.cached_tokens([*ranks, other], route) == 4 * BLOCK_TOKENS
    assert chooser.cached_tokens([], route) == 0


def test_a_predicted_prefix_lives_as_long_as_the_prompt_that_goes_on_from_it() -> None:
    (rank,), chooser = fleet(1), router()
    short, long = prompt(6 * BLOCK_TOKENS), prompt(10 * BLOCK_TOKENS)
    send(chooser, [rank], short, now=0.0)
    send(chooser, [rank], long, now=1.0)
    rank.blocks.expire(LIFETIMES.predicted_s)
    assert overlaps([rank.blocks], long.blocks(BLOCK_TOKENS)) == [Overlap(10)]
    rank.blocks.expire(1.0 + LIFETIMES.predicted_s)
    assert len(rank.blocks) == 0


def test_where_no_events_tell_the_whole_prompt_is_assumed_and_renewed() -> None:
    (rank,), chooser, route = fleet(1, tells_events=False), router(), prompt(10 * BLOCK_TOKENS)
    hashes = route.blocks(BLOCK_TOKENS)
    send(chooser, [rank], route, now=0.0)
    placement = chooser.choose([rank], route, 100.0)
    assert placement.cached_tokens == route.prompt_tokens
    chooser.placed(placement, route, 100.0)
    assert rank.blocks.predictions == [
        (hashes, LIFETIMES.assumed_s),
        (hashes, 100.0 + LIFETIMES.assumed_s),
    ]
    rank.blocks.expire(LIFETIMES.assumed_s)
    assert len(rank.blocks) == 10
    rank.blocks.expire(100.0 + LIFETIMES.assumed_s)
    assert len(rank.blocks) == 0


def test_the_next_request_of_a_prefix_follows_the_first_before_any_event() -> None:
    ranks, chooser, route = fleet(6), router(), prompt(30 * BLOCK_TOKENS)
    home = send(chooser, ranks, route)
    assert {send(chooser, ranks, route).key for _ in range(10)} == {home.key}


def test_predictions_are_made_in_blocks_of_the_ranks_own_size() -> None:
    rank, chooser, route = FakeRank(block_size_tokens=16), router(), prompt(100)
    rank.hold(route, 2)
    send(chooser, [rank], route)
    assert rank.blocks.predictions == [(route.blocks(16), LIFETIMES.predicted_s)]
    assert len(route.blocks(16)) == len(rank.blocks) == 6


def test_a_rank_without_room_in_the_index_still_gets_requests() -> None:
    rank = FakeRank(blocks=RecordingBlocks(BlockBudget(5)))
    chooser, route = router(), prompt(10 * BLOCK_TOKENS)
    assert send(chooser, [rank], route) is rank
    assert (len(rank.blocks), rank.placed_at) == (5, 1)
    # the first ones, which others can use
    assert overlaps([rank.blocks], route.blocks(BLOCK_TOKENS)) == [Overlap(5)]


def test_turns_are_counted_over_all_ranks_in_requests_that_were_sent() -> None:
    ranks, chooser = fleet(3), router("round-robin")
    route = prompt(9)
    chooser.choose(ranks, route, 0.0)  # not sent
    for rank in (ranks[1], ranks[0], ranks[1]):
        chooser.placed(Placement(rank), route, 0.0)
    assert [rank.placed_at for rank in ranks] == [2, 3, 0]


def test_a_session_in_kv_mode_reports_what_its_own_rank_holds() -> None:
    ranks, chooser, route = fleet(2), router(), prompt(10 * BLOCK_TOKENS, session_id="s")
    chooser.placed(Placement(ranks[0]), prompt(9, 5, session_id="s"), 0.0)
    ranks[0].hold(route, 3)
    ranks[1].hold(route, 8)
    placement = chooser.choose(ranks, route, 0.0)
    assert (placement.rank, placement.cached_tokens) == (ranks[0], 3 * BLOCK_TOKENS)


# The other policies


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("kv", KvAware),
        ("least-loaded", LeastLoaded),
        ("power-of-two", PowerOfTwo),
        ("round-robin", RoundRobin),
        ("random", RandomChoice),
    ],
)
def test_every_mode_has_its_policy_and_takes_a_single_rank(mode: RouterMode, kind: type) -> None:
    policy = policy_of(mode, Weights(), Random(0))
    assert type(policy) is kind
    (rank,) = fleet(1)
    assert [policy.choose([rank], prompt(9)).rank for _ in range(3)] == [rank] * 3


@pytest.mark.parametrize("mode", MODES)
def test_a_policy_changes_nothing_by_choosing(mode: RouterMode) -> None:
    ranks, route = fleet(4), prompt(10 * BLOCK_TOKENS)
    ranks[1].hold(route, 2)
    before = [
        (
            rank.requests,
            rank.prefill_tokens,
            rank.kv_tokens,
            rank.placed_at,
            dict(rank.blocks.places),
        )
        for rank in ranks
    ]
    policy_of(mode, Weights(), Random(0)).choose(ranks, route)
    assert before == [
        (
            rank.requests,
            rank.prefill_tokens,
            rank.kv_tokens,
            rank.placed_at,
            dict(rank.blocks.places),
        )
        for rank in ranks
    ]


def test_least_loaded_takes_the_fewest_requests_and_any_of_equals() -> None:
    ranks = fleet(4)
    for rank, requests in zip(ranks, [3, 1, 2, 1], strict=True):
        rank.requests = requests
    picks = Counter(
        LeastLoaded(Random(seed)).choose(ranks, prompt(9)).rank.worker_id for seed in range(60)
    )
    assert set(picks) == {"w1", "w3"}


def test_power_of_two_takes_the_less_loaded_of_the_two_it_drew() -> None:
    ranks = fleet(5)
    for requests, rank in enumerate(ranks):
        rank.requests = 10 - requests
    for seed in range(30):
        drawn = Random(seed).sample(ranks, 2)
        assert PowerOfTwo(Random(seed)).choose(ranks, prompt(9)).rank is min(
            drawn, key=lambda rank: rank.requests
        )


def test_power_of_two_never_takes_the_single_most_loaded_rank() -> None:
    ranks = fleet(3)
    ranks[1].requests = 1
    policy = PowerOfTwo(Random(0))
    assert {policy.choose(ranks, prompt(9)).rank.worker_id for _ in range(100)} == {"w0", "w2"}


def laps(router: Router, pools: Sequence[Sequence[FakeRank]], count: int) -> list[str]:
    """Who is chosen, when so many requests go to one rank of each pool."""
    chosen: list[str] = []
    for now in range(count):
        for pool in pools:
            placement = router.choose(pool, prompt(9), now)
            router.placed(placement, prompt(9), now)
            chosen.append(placement.rank.worker_id)
    return chosen


def round_robin() -> Router:
    return Router("round-robin", RoundRobin(), LIFETIMES)


def test_round_robin_goes_around() -> None:
    chosen = laps(round_robin(), [fleet(3)], 9)
    assert chosen == ["w0", "w1", "w2"] * 3


def test_round_robin_goes_around_in_each_of_several_pools() -> None:
    chosen = laps(round_robin(), [fleet(2), fleet(2)], 4)
    assert chosen == ["w0", "w0", "w1", "w1"] * 2


def test_round_robin_goes_on_when_ranks_leave_and_come() -> None:
    ranks, router = fleet(5), round_robin()
    laps(router, [ranks], 4)
    assert laps(router, [ranks[:2]], 4) == ["w0", "w1"] * 2
    assert laps(router, [ranks], 4) == ["w4", "w2", "w3", "w0"]


def test_random_takes_every_rank_however_loaded() -> None:
    ranks = fleet(4)
    ranks[2].requests = 1_000
    policy = RandomChoice(Random(0))
    counts = Counter(policy.choose(ranks, prompt(9)).rank.worker_id for _ in range(400))
    assert len(counts) == 4
    assert min(counts.values()) > 50


@dataclass
class Asked:
    """A policy that notes what it was given."""

    ranks: list[Any] | None = None

    def choose(self, ranks: Any, route: RouteRequest) -> Placement[Any]:
        self.ranks = list(ranks)
        return Placement(ranks[0])


def test_the_policy_sees_only_the_sessions_rank_or_else_all_that_have_room() -> None:
    ranks, asked = fleet(3), Asked()
    chooser = router("least-loaded", policy=asked)
    chooser.placed(Placement(ranks[2]), prompt(9, session_id="s"), 0.0)
    chooser.choose(ranks, prompt(9, session_id="s"), 0.0)
    assert asked.ranks == [ranks[2]]
    chooser.choose(ranks[:2], prompt(9, session_id="s"), 0.0)
    assert asked.ranks == ranks[:2]
    chooser.choose(ranks, prompt(9), 0.0)
    assert asked.ranks == ranks


def test_a_block_that_an_event_removes_while_it_is_predicted_counts_until_its_time() -> None:
    (rank,), chooser, route = fleet(1), router(), prompt(2 * BLOCK_TOKENS)
    send(chooser, [rank], route)
    rank.blocks.remove(GPU, route.blocks(BLOCK_TOKENS))  # an older copy, told late
    rank.blocks.remove(HOST, route.blocks(BLOCK_TOKENS))
    assert chooser.choose([rank], route, 0.0).cached_tokens == route.prompt_tokens


def test_a_choice_goes_beside_its_sibling_while_that_rank_has_room() -> None:
    chooser, ranks = router("round-robin"), grid()
    route = prompt(100, session_id="s")
    send(chooser, ranks, route)
    route.beside = ("b", 1)
    assert [send(chooser, ranks, route).key for _ in range(4)] == [("b", 1)] * 4
    assert route.followed_by(b"\0" * 4).beside is None
