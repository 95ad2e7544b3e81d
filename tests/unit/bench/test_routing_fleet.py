"""Fleets on a virtual clock: what is computed twice of a prefix that is asked for at once, and how
seeds are summed up.
"""

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from bench.routing.case import Case
from bench.routing.fleet import Fleet
from bench.routing.seeds import MEASURES, summaries
from bench.routing.workloads import Script, Users, Workload, tokens
from bench.sglang.kv_loads import FAN_OUTS, SMALL
from frontend.routing.policies.modes import policy_of
from frontend.routing.route import Weights
from frontend.routing.router import Lifetimes

SHARED_TOKENS, OWN_TOKENS = 1_024, 64


def fan_out(ranks: int, rate: float, seed: int) -> Users:
    """One request, so that the rank decodes, and then three at once over a fresh prefix."""
    del ranks, rate
    draw = np.random.default_rng(seed)
    shared = tokens(draw, SHARED_TOKENS)

    def ask(prompt: bytes) -> Script:
        yield prompt

    def users() -> Iterator[tuple[float, Script]]:
        yield 0.0, ask(tokens(draw, 512))
        for number in range(3):
            yield 0.5 + number / 10_000, ask(shared + tokens(draw, OWN_TOKENS))

    return users()


def cached_of_siblings(*, held: bool) -> list[int]:
    workload = Workload("a fan-out", fan_out, 1.0, 400.0, {1: 1.0}, 0.0)
    fleet = Fleet(
        workload,
        1,
        "kv",
        [policy_of("kv", Weights(), Random(1))],
        Lifetimes(predicted_s=10.0, assumed_s=120.0, session_s=300.0),
        seed=3,
        held=held,
    )
    fleet.run(1.0, 3)
    assert len(fleet.done) == 4
    assert not fleet.cut_off
    [side] = fleet.frontends
    assert not side.bookings
    assert not side.leaders
    siblings = [asked for asked in fleet.done if asked.prompt_tokens > SHARED_TOKENS]
    return [asked.cached for asked in sorted(siblings, key=lambda asked: asked.arrived_at)]


def test_an_engine_computes_a_prefix_for_each_who_comes_before_its_step() -> None:
    assert cached_of_siblings(held=False) == [0, 0, 0]


def test_who_is_held_for_the_first_token_finds_the_prefix_computed() -> None:
    assert cached_of_siblings(held=True) == [0, SHARED_TOKENS, SHARED_TOKENS]


def test_a_mode_is_summed_up_by_the_median_of_its_seeds_and_their_range() -> None:
    def figures(value: float) -> dict[str, float]:
        return dict.fromkeys(MEASURES, value)

    cases = [Case(workload="bursts", ranks=8, seed=seed) for seed in (1, 2, 3)]
    results = [
        *zip(cases, map(figures, (30.0, 10.0, 11.0)), strict=True),
        (Case(workload="bursts", ranks=8, held=False), figures(7.0)),
    ]
    plain, at_once = summaries(results)
    assert (plain["mode"], plain["seeds"]) == ("kv", 3)
    assert (at_once["mode"], at_once["seeds"]) == ("kv, sent at once", 1)
    assert plain["ttft_p50_ms"] == {"median": 11.0, "min": 10.0, "max": 30.0}
    assert at_once["tokens_per_s"]["median"] == 7.0


@pytest.mark.parametrize("load", [FAN_OUTS, SMALL], ids=["in runs", "mixed"])
def test_a_fan_out_comes_one_sibling_behind_the_other(load) -> None:
    prefixes = [tuple(body["prompt"][: load.prefix_tokens]) for body in load.bodies("m", seed=5)][
        : load.groups * load.chats_per_group
    ]
    assert {prefixes.count(prefix) for prefix in prefixes} == {load.chats_per_group}
    changes = sum(one != other for one, other in pairwise(prefixes))
    assert (changes == load.groups - 1) == load.in_runs
