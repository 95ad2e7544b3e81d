"""A request that kills engines: answered with an error after two of them, its like refused, and
everybody else served.
"""

import openai
import pytest

from tests.fault.raw_http import metric
from tests.fault.streams import (
    CRASH_SEED,
    body,
    lost_workers,
    on_each_worker,
    start_workers,
    tell_all,
    told_in_peace,
)
from tests.kit.fleet import Fleet


@pytest.mark.parametrize("stream", [False, True])
async def test_poison_takes_two_workers_at_most_and_no_bystander(
    fleet: Fleet, stream: bool
) -> None:
    fleet.frontend()
    start_workers(fleet, 4)
    undisturbed = await told_in_peace(fleet)
    poison = body(77, seed=CRASH_SEED, stream=stream)

    def fault() -> None:
        with fleet.client() as client, pytest.raises(openai.InternalServerError) as raised:
            client.completions.create(**poison)
        assert (raised.value.status_code, raised.value.code) == (500, "poison_request")

    assert await tell_all(fleet, fault) == undisturbed
    assert lost_workers(fleet, "died") == 2
    assert len(on_each_worker(fleet)) == 2
    assert metric(fleet, "kvmesh_frontend_poison_requests_total") == 1
    with fleet.client() as client:
        for twin in (poison, poison | {"seed": 1, "max_tokens": 7, "stream": not stream}):
            with pytest.raises(openai.InternalServerError) as raised:
                client.completions.create(**twin)
            assert raised.value.code == "poison_request"
        assert client.completions.create(**body(78, max_tokens=3)).usage
    assert metric(fleet, "kvmesh_frontend_poison_refusals_total") == 2
    assert len(on_each_worker(fleet)) == 2


async def test_poison_among_choices_ends_its_request_alone(fleet: Fleet) -> None:
    """The other choices of the request are of its kind; its neighbours are not."""
    fleet.frontend()
    start_workers(fleet, 4)
    undisturbed = await told_in_peace(fleet)

    def fault() -> None:
        with fleet.client() as client, pytest.raises(openai.APIStatusError) as raised:
            client.completions.create(**body(77, seed=CRASH_SEED, n=2))
        assert raised.value.code in ("poison_request", "worker_lost")

    assert await tell_all(fleet, fault) == undisturbed
    assert len(on_each_worker(fleet)) >= 2


async def test_a_request_that_was_aboard_twice_by_accident_is_served(fleet: Fleet) -> None:
    """Bystanders of two deaths made tokens on each worker, so they are none of the suspects'
    business.
    """
    fleet.frontend()
    workers = start_workers(fleet, 3)
    undisturbed = await told_in_peace(fleet, count=2, max_tokens=600)

    def fault() -> None:
        for number in range(2):
            runs = on_each_worker(fleet)
            victim = max(runs, key=runs.__getitem__)
            workers[victim].popen.kill()
            fleet.wait_until(
                lambda number=number: lost_workers(fleet, "died") == number + 1, "it is missed"
            )
            fleet.wait_until(lambda: sum(on_each_worker(fleet).values()) == 2, "they run again")

    assert await tell_all(fleet, fault, count=2, max_tokens=600) == undisturbed
    assert metric(fleet, "kvmesh_frontend_poison_requests_total") == 0


async def test_a_prompt_that_takes_long_is_no_poison(fleet: Fleet) -> None:
    """Each step takes six times as long as an engine may be silent with nothing to compute."""
    fleet.frontend()
    start_workers(fleet, 3, "--sim-fault", "slow=40", "--health-check-request-timeout", "0.3")
    with fleet.client() as client:
        for first in (5, 6):  # as long as nobody knows how fast the engine is, and then
            assert client.completions.create(
                model="demo", prompt=[first] * 2_000, max_tokens=1
            ).usage
    assert metric(fleet, "kvmesh_frontend_migrations_total") == 0
