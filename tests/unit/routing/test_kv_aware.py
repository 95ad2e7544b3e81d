"""The KV-aware policy: to the cached prefix until computing elsewhere is cheaper, and in turn where
ranks are alike.
"""

import math
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.routing.policies.kv_aware import KvAware
from frontend.routing.route import BLOCK_TOKENS, RouteRequest, Weights
from protocol.tokens import pack_tokens
from tests.unit.routing.ranks import FakeRank, cost_of, fleet, prompt, worth_of

DEFAULTS = Weights(idle=1.0)
"""But for the discount of idle ranks, which has tests of its own, so that one price holds for
all.
"""

STRICT = replace(DEFAULTS, tie=0.0)
"""The cheapest alone."""


def policy(weights: Weights = DEFAULTS, seed: int = 0) -> KvAware:
    return KvAware(weights, Random(seed))


def place(chooser: KvAware, ranks: list[FakeRank], route: RouteRequest, turn: int) -> FakeRank:
    """Choose, and note whose turn it was."""
    rank = chooser.choose(ranks, route).rank
    rank.placed_at = turn
    return rank


@pytest.mark.parametrize("owner", range(3))
def test_an_idle_owner_of_the_prefix_is_followed_though_it_had_the_last_turn(owner: int) -> None:
    ranks, route = fleet(3), prompt(10 * BLOCK_TOKENS + 5)
    ranks[owner].hold(route, 7)
    ranks[owner].placed_at = 99
    placement = policy().choose(ranks, route)
    assert placement.rank is ranks[owner]
    assert (placement.cached_tokens, placement.best_cached_tokens) == (7 * BLOCK_TOKENS,) * 2


def test_of_two_owners_the_one_with_more_is_followed() -> None:
    ranks, route = fleet(3), prompt(20 * BLOCK_TOKENS)
    ranks[0].hold(route, 5)
    ranks[2].hold(route, 6)
    ranks[2].placed_at = 1
    assert policy().choose(ranks, route).rank is ranks[2]


LOADS = {
    "waiting prompts": ("prefill_tokens", lambda weights: weights.waiting),
    "held KV tokens": ("kv_tokens", lambda weights: 1.0),
    "requests": ("requests", lambda weights: weights.request * BLOCK_TOKENS),
}


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(
    "weights", [STRICT, DEFAULTS, Weights(prefill=3.0, idle=1.0, waiting=5.0, request=1.0, tie=2.0)]
)
def test_the_owner_is_left_when_its_load_costs_more_than_computing_elsewhere(
    load: str, weights: Weights
) -> None:
    attribute, price_of = LOADS[load]
    held, price = 100, price_of(weights)
    worth_it = weights.prefill * held * BLOCK_TOKENS
    tie = weights.tie * BLOCK_TOKENS

    def owner_is_chosen(amount: int) -> bool:
        (owner, other), route = fleet(2), prompt(120 * BLOCK_TOKENS)
        owner.hold(route, held)
        owner.placed_at = 1  # in a tie it is the other's turn
        setattr(owner, attribute, amount)
        placement = policy(weights).choose([owner, other], route)
        assert placement.best_cached_tokens == held * BLOCK_TOKENS
        assert placement.cached_tokens == (held * BLOCK_TOKENS if placement.rank is owner else 0)
        return placement.rank is owner

    last = math.ceil(worth_it / price) - 1
    """The greatest load that still costs less than computing the prefix."""
    assert owner_is_chosen(0)
    assert owner_is_chosen(last)
    assert not owner_is_chosen(math.floor(worth_it / price) + 1)
    assert not owner_is_chosen(math.floor((worth_it + tie) / price) + 1)


def test_an_owner_that_costs_only_a_little_more_keeps_its_turn() -> None:
    (owner, other), route = fleet(2), prompt(120 * BLOCK_TOKENS)
    owner.hold(route, 100)
    other.placed_at = 1
    break_even = DEFAULTS.prefill * 100 * BLOCK_TOKENS
    owner.kv_tokens = int(break_even + DEFAULTS.tie * BLOCK_TOKENS)
    assert policy().choose([owner, other], route).rank is owner
    owner.kv_tokens += 1
    assert policy().choose([owner, other], route).rank is other


def test_siblings_follow_the_first_until_waiting_costs_more_than_computing_twice() -> None:
    ranks, shared = fleet(4), 64 * BLOCK_TOKENS
    chooser = policy()
    followers = 0
    owner: FakeRank | None = None
    for number in range(200):
        route = RouteRequest(
            pack_tokens([*range(shared), *range(10_000 * (number + 1), 10_000 * (number + 1) + 40)])
        )
        costs = [cost_of(rank, route, DEFAULTS) for rank in ranks]
        placement = chooser.choose(ranks, route)
        rank = placement.rank
        if owner is not None and rank is not owner:
            assert costs[ranks.index(rank)] <= costs[ranks.index(owner)]
            break
        if owner is not None:
            followers += 1
            assert placement.cached_tokens == shared
            assert costs[ranks.index(owner)] <= min(costs) + DEFAULTS.tie * BLOCK_TOKENS
        owner = rank
        rank.placed_at = number + 1
        rank.blocks.predict(route.blocks(BLOCK_TOKENS), until=1.0)
        rank.take(route.prompt_tokens - placement.cached_tokens)
    else:
        pytest.fail("the prefix was never computed a second time")
    # Waiting for what is computed, and a request beside it, cost less than computing it again.
    assert (
        DEFAULTS.prefill * shared
        > (DEFAULTS.waiting + 1) * (shared + 40) + DEFAULTS.request * BLOCK_TOKENS
    )
    assert followers >= 1


def test_alike_ranks_take_turns() -> None:
    ranks, chooser = fleet(5), policy()
    rounds = [
        [place(chooser, ranks, prompt(100, seed), turn=5 * lap + seed + 1) for seed in range(5)]
        for lap in range(3)
    ]
    assert set(map(id, rounds[0])) == set(map(id, ranks))
    assert rounds[0] == rounds[1] == rounds[2]


def test_a_new_rank_gets_its_turn_first() -> None:
    ranks, chooser = fleet(3), policy()
    for turn in range(1, 10):
        place(chooser, ranks, prompt(100, turn), turn)
    new = FakeRank("new")
    assert place(chooser, [*ranks, new], prompt(100, 77), 10) is new
    assert place(chooser, [*ranks, new], prompt(100, 78), 11) is not new


def test_a_rank_that_costs_more_than_a_tie_waits_for_its_turn() -> None:
    ranks, chooser = fleet(2), policy()
    ranks[1].placed_at = 5
    ranks[0].kv_tokens = int(DEFAULTS.tie * BLOCK_TOKENS)
    assert chooser.choose(ranks, prompt(100)).rank is ranks[0]
    ranks[0].kv_tokens += 1
    assert chooser.choose(ranks, prompt(100)).rank is ranks[1]


@pytest.mark.parametrize("fewer", [0, 4])
def test_ranks_that_hold_less_never_win_a_tie(fewer: int) -> None:
    ranks, route = fleet(6), prompt(10 * BLOCK_TOKENS)
    wide = replace(DEFAULTS, tie=1e6)
    for rank in ranks:
        rank.hold(route, fewer)
    ranks[3].hold(route, fewer + 1)
    ranks[3].placed_at = 9
    assert {policy(wide, seed).choose(ranks, route).rank.worker_id for seed in range(20)} == {"w3"}


def test_a_rank_that_holds_more_and_costs_a_little_more_is_alike() -> None:
    (cheap, rich), route = fleet(2), prompt(10 * BLOCK_TOKENS)
    rich.hold(route, 1)
    rich.kv_tokens = int(DEFAULTS.prefill * BLOCK_TOKENS) + 1
    cheap.placed_at = 1
    assert policy().choose([cheap, rich], route).rank is rich
    assert policy(STRICT).choose([cheap, rich], route).rank is cheap


def test_blocks_in_slower_media_count_for_a_part() -> None:
    route = prompt(40 * BLOCK_TOKENS)

    def first(*ranks: FakeRank, weights: Weights = STRICT) -> FakeRank:
        return policy(weights).choose(list(ranks), route).rank

    none, gpu, host, disk = fleet(4)
    gpu.hold(route, 20)
    host.hold(route, 0, 20)
    disk.hold(route, 0, 0, 20)
    for rank in (gpu, host, disk):
        rank.placed_at = 1
    assert [first(none, disk), first(none, disk, host), first(none, disk, host, gpu)] == [
        disk,
        host,
        gpu,
    ]
    assert first(none, disk, host, weights=replace(STRICT, host=0.0, disk=0.0)) is none

    placement = policy(STRICT).choose([none, host], route)
    assert placement.cached_tokens == 20 * BLOCK_TOKENS


@pytest.mark.parametrize(
    ("tiers", "part"), [((0, 20, 0), STRICT.host), ((0, 0, 20), STRICT.disk), ((5, 5, 10), None)]
)
def test_what_slower_media_are_worth_is_what_their_weights_say(
    tiers: tuple[int, int, int], part: float | None
) -> None:
    gpu, host, disk = tiers
    worth = (gpu + host * STRICT.host + disk * STRICT.disk) * BLOCK_TOKENS
    if part is not None:
        assert worth == 20 * BLOCK_TOKENS * part
    (slow, idle), route = fleet(2), prompt(40 * BLOCK_TOKENS)
    slow.hold(route, *tiers)
    slow.kv_tokens = int(STRICT.prefill * worth) - 1
    placement = policy(STRICT).choose([idle, slow], route)
    assert placement.rank is slow
    assert placement.cached_tokens == sum(tiers) * BLOCK_TOKENS
    slow.kv_tokens += 2
    assert policy(STRICT).choose([idle, slow], route).rank is idle


def test_a_temperature_spreads_requests_over_cheap_ranks_and_none_does_not() -> None:
    ranks, route = fleet(4), prompt(100)
    for load, rank in enumerate(ranks):
        rank.kv_tokens = 1_000_000 * load  # far beyond a tie
    warm = policy(replace(DEFAULTS, temperature=1.0))
    counts = Counter(warm.choose(ranks, route).rank.worker_id for _ in range(2_000))
    assert [name for name, _ in counts.most_common()] == ["w0", "w1", "w2", "w3"]
    cold = policy(replace(DEFAULTS, temperature=0.01))
    assert {cold.choose(ranks, route).rank.worker_id for _ in range(200)} == {"w0"}
    assert {policy(DEFAULTS, seed).choose(ranks, route).rank.worker_id for seed in range(50)} == {
        "w0"
    }


def test_a_temperature_means_the_same_at_any_load_and_copes_with_equal_costs() -> None:
    def counts(scale: int) -> Counter[str]:
        ranks = fleet(3)
        for load, rank in enumerate(ranks):
            rank.kv_tokens = scale * load
        chooser = policy(replace(DEFAULTS, temperature=0.5))
        return Counter(chooser.choose(ranks, prompt(100)).rank.worker_id for _ in range(300))

    assert counts(1) == counts(1_000_000)
    assert len(counts(0)) == 3


def test_workers_of_different_block_sizes_are_compared_in_tokens() -> None:
    small, large = FakeRank("small", block_size_tokens=16), FakeRank("large", block_size_tokens=64)
    route = prompt(4 * 64)
    small.hold(route, 7)
    large.hold(route, 1)
    for ranks in ([small, large], [large, small]):
        placement = policy(STRICT).choose(ranks, route)
        assert placement.rank is small
        assert (placement.cached_tokens, placement.best_cached_tokens) == (7 * 16,) * 2
    large.hold(route, 2)
    placement = policy(STRICT).choose([small, large], route)
    assert placement.rank is large
    assert placement.cached_tokens == placement.best_cached_tokens == 2 * 64
    small.hold(route, 8)  # now alike
    small.placed_at, large.placed_at = 1, 2
    assert policy(STRICT).choose([small, large], route).rank is small
    large.placed_at = 0
    assert policy(STRICT).choose([small, large], route).rank is large


def test_a_request_may_bring_weights_of_its_own() -> None:
    (owner, idle), tokens = fleet(2), 40 * BLOCK_TOKENS
    owner.hold(prompt(tokens), 40)
    owner.requests = 1
    assert policy(STRICT).choose([owner, idle], prompt(tokens)).rank is owner
    by_load = replace(STRICT, prefill=0.0)
    assert policy(STRICT).choose([owner, idle], prompt(tokens, weights=by_load)).rank is idle
    assert policy(by_load).choose([owner, idle], prompt(tokens, weights=STRICT)).rank is owner


def test_adapters_and_salts_do_not_share_a_prefix() -> None:
    (owner, idle), tokens = fleet(2), 10 * BLOCK_TOKENS
    owner.hold(prompt(tokens), 10)
    owner.kv_tokens = 1
    for wishes in ({"lora_name": "a"}, {"cache_salt": "a"}):
        placement = policy(STRICT).choose([owner, idle], prompt(tokens, **wishes))
        assert (placement.rank, placement.best_cached_tokens) == (idle, 0)


def test_two_frontends_do_not_start_at_the_same_rank() -> None:
    """Each has its own view of the same ranks, and its own randomness."""
    picks = [policy(seed=seed).choose(fleet(8), prompt(100)).rank.worker_id for seed in range(40)]
    assert len(set(picks)) == 8
    first, second = policy(seed=1), policy(seed=2)
    ours, theirs = fleet(8), fleet(8)
    turns = range(1, 9)
    assert [place(first, ours, prompt(9), turn).key for turn in turns] != [
        place(second, theirs, prompt(9), turn).key for turn in turns
    ]


BLOCKS = 12
QUARTERS = st.integers(0, 80).map(lambda quarters: quarters / 4)
"""Sums of these are exact."""


@st.composite
def loaded_ranks(draw: st.DrawFn, route: RouteRequest) -> list[FakeRank]:
    ranks = fleet(draw(st.integers(1, 6)))
    for rank in ranks:
        rank.block_size_tokens = draw(
            st.sampled_from([BLOCK_TOKENS, BLOCK_TOKENS, BLOCK_TOKENS // 4])
        )
        gpu, host, disk = (draw(st.integers(0, BLOCKS // 3)) for _ in range(3))
        rank.hold(route, gpu, host, disk)
        rank.requests, rank.prefill_tokens, rank.kv_tokens = (
            draw(st.integers(0, most)) for most in (9, 3_000, 9_000)
        )
        rank.placed_at = draw(st.integers(0, 4))
    return ranks


@settings(max_examples=200, deadline=None)
@given(
    st.data(),
    st.builds(
        Weights,
        prefill=QUARTERS,
        idle=st.sampled_from([0.5, 1.0]),
        waiting=QUARTERS,
        request=QUARTERS,
        tie=QUARTERS,
        host=st.sampled_from([0.0, 0.5, 0.75]),
        disk=st.sampled_from([0.0, 0.25]),
    ),
)
def test_the_choice_is_within_a_tie_of_the_cheapest_and_holds_no_less(
    data: st.DataObject, weights: Weights
) -> None:
    route = prompt(BLOCKS * BLOCK_TOKENS + data.draw(st.integers(0, BLOCK_TOKENS - 1)))
    ranks = data.draw(loaded_ranks(route))
    costs = [cost_of(rank, route, weights) for rank in ranks]
    # nothing, where computing costs nothing
    worth = [weights.prefill * worth_of(rank, route, weights) for rank in ranks]
    placement = policy(weights, data.draw(st.integers(0, 3))).choose(ranks, route)
    chosen = ranks.index(placement.rank)
    assert costs[chosen] <= min(costs) + weights.tie * BLOCK_TOKENS
    assert worth[chosen] >= min(
        held for held, cost in zip(worth, costs, strict=True) if cost == min(costs)
    )
    alike = [
        rank
        for rank, cost, held in zip(ranks, costs, worth, strict=True)
        if cost <= costs[chosen] and held >= worth[chosen]
    ]
    assert placement.rank.placed_at == min(rank.placed_at for rank in alike), (
        "somebody no worse waited longer"
    )
    assert 0 <= placement.cached_tokens <= placement.best_cached_tokens <= route.prompt_tokens


def test_an_idle_rank_is_woken_before_the_others_are_as_busy_as_computing_costs() -> None:
    weights = Weights(tie=0.0)
    assert weights.idle < 1
    owner, idle = fleet(2)
    route = prompt(100 * BLOCK_TOKENS)
    owner.hold(route, 100)
    owner.requests = 1
    price = weights.request * BLOCK_TOKENS
    owner.kv_tokens = int(weights.prefill * weights.idle * route.prompt_tokens - price) - 1
    assert policy(weights).choose([owner, idle], route).rank is owner
    owner.kv_tokens += 2
    assert policy(weights).choose([owner, idle], route).rank is idle
    idle.requests = 1  # no longer idle: the full price, and its own request
    assert policy(weights).choose([owner, idle], route).rank is owner


@settings(max_examples=60, deadline=None)
@given(st.data(), st.floats(0.001, 100))
def test_any_temperature_gives_one_of_the_ranks(data: st.DataObject, temperature: float) -> None:
    route = prompt(BLOCKS * BLOCK_TOKENS)
    ranks = data.draw(loaded_ranks(route))
    assert policy(replace(DEFAULTS, temperature=temperature)).choose(ranks, route).rank in ranks


def test_the_least_temperature_that_a_client_can_send_gives_a_rank() -> None:
    (owner, idle), weights = fleet(2), replace(DEFAULTS, prefill=0.001, temperature=5e-324)
    route = prompt(10 * BLOCK_TOKENS, weights=weights)
    owner.hold(route, 1)
    assert policy().choose([owner, idle], route).rank is owner
