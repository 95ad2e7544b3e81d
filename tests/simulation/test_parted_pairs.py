"""Workers that reach their frontend and not each other: what their requests come to, on a virtual
clock and with the waits that workers really have.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import pytest

from frontend.fleet.partings import APART_S
from protocol.generation import Sampling
from protocol.tokens import pack_tokens
from tests.simulation.client import Asked, Client
from tests.simulation.frontend import FrontendSpec, frontend_settings
from tests.simulation.network import Weather
from tests.simulation.plan import Fault, Plan
from tests.simulation.worker import WorkerSpec
from tests.simulation.world import run_plan
from workers.sim.handover.messages import WAIT_S_MAX
from workers.sim.settings import SimSettings

Mode = Literal["prefill", "decode"]

BEGIN_S: Final = 2.0
"""By then the workers have been taken in."""
FOUND_OUT_S: Final = BEGIN_S + WAIT_S_MAX + 1.0
"""By then the first requests have waited for what does not come."""
NEVER_S: Final = 10_000.0


def world(
    modes: Sequence[Mode], cut: Sequence[tuple[int, int]], asked_at_s: Sequence[float]
) -> Plan:
    """A world of workers, by slot, between some of which there is no way: (prefill, decode)."""
    settings = frontend_settings("random", moves_max=3, shed_wait_s=None, grace_s=0.0, finish_s=30)
    return Plan(
        seed=3,
        kind="everything",  # a request may fail, or be moved
        frontends=[FrontendSpec(settings=settings, queue_bytes=1 << 20)],
        workers=[
            WorkerSpec(
                settings=SimSettings(
                    disaggregation_mode=mode,
                    disable_radix_cache=mode == "decode",
                    sim_output_tokens_mean=8.0,
                ),
                credit_requests=64,
                drain_s_max=30.0,
                start_s=0.0,
            )
            for mode in modes
        ],
        weather=Weather(),
        requests=[
            Asked(
                number=number,
                frontend=0,
                at_s=at_s,
                prompt=pack_tokens([number, *range(40)]),
                sampling=Sampling(8, ignore_eos=True),
                timeout_s=200.0,
            )
            for number, at_s in enumerate(asked_at_s)
        ],
        faults=[
            Fault(
                at_s=1.0,
                kind="legs-part",
                worker=decode,
                prefill=prefill,
                frontend=0,
                seconds=NEVER_S,
            )
            for prefill, decode in cut
        ],
        poison=frozenset(),
        faulty=frozenset(),
        two_ways=False,
        dns_out_at_s=None,
        legs=True,
    )


def took_s(client: Client) -> float:
    return client.outcome.ended_at - client.asked_at


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if line.startswith("no KV cache came over")]


def moves(clients: Mapping[int, Client]) -> list[int]:
    return [sum(client.outcome.moves) for client in clients.values()]


def test_other_pairs_serve_those_that_two_workers_cannot(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    first = [BEGIN_S + number / 10 for number in range(16)]
    later = [FOUND_OUT_S + number for number in range(20)]
    plan = world(["prefill", "prefill", "decode", "decode"], [(0, 2)], first + later)
    result, clients = run_plan(plan)
    assert (result.completed, sum(result.failed.values())) == (36, 0)
    moved = moves(clients)
    assert set(moved[:16]) == {0, 1}, "whoever was paired so has waited once"
    assert set(moved[16:]) == {0}, "and nobody since"
    assert len(said(caplog)) == 1
    assert "from worker worker-0 to worker worker-2" in said(caplog)[0]


def test_a_worker_that_no_other_reaches_costs_no_request_two_waits() -> None:
    plan = world(
        ["prefill", "prefill", "decode", "decode", "decode", "decode"],
        [(0, 2), (0, 3), (0, 4), (0, 5)],
        [BEGIN_S + number / 10 for number in range(16)],
    )
    result, clients = run_plan(plan)
    assert result.completed == 16
    assert set(moves(clients)) == {0, 1}, "one goes on with neither of the two"


def test_who_is_of_no_use_to_each_other_is_tried_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    again_s = FOUND_OUT_S + APART_S + 1.0
    asked_at_s = [BEGIN_S] * 8 + [again_s] * 8
    result, clients = run_plan(world(["prefill", "decode", "decode"], [(0, 1)], asked_at_s))
    assert result.completed == 16
    assert set(moves(clients)[:8]) == set(moves(clients)[8:]) == {0, 1}


def test_a_request_of_the_only_pair_hears_what_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    result, clients = run_plan(world(["prefill", "decode"], [(0, 1)], [BEGIN_S, 70.0]))
    assert result.failed == {"handover_failed": 2}
    first, second = clients.values()
    assert "may not reach each other" in str(first.outcome.error)
    # the first one gave them a second chance, the second one knew of it
    assert (first.outcome.moves, second.outcome.moves) == ([2], [1])
    assert took_s(second) < WAIT_S_MAX + 1.0 < took_s(first) < 2 * WAIT_S_MAX + 1.0
    assert 1 <= len(said(caplog)) <= 2
