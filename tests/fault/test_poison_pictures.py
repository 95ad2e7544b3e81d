"""A picture that kills whoever encodes it, or whoever runs the prompt that it is in: answered with
an error after two workers, of whatever stage.
"""

from typing import Any

import openai
import pytest

from tests.fault.raw_http import metric
from tests.fault.streams import CRASH_SEED, lost_workers
from tests.fleet.pictures import data_url, picture
from tests.fleet.test_encoders import ENCODER, FAST, PROCESSOR, WORKER, ask, workers_of
from tests.fleet.test_pictures import said
from tests.kit.fleet import Fleet
from workers.sim.faults import PICTURE_FAULT

POISON, RED = data_url(picture("red") + PICTURE_FAULT), data_url(picture("red"))

TOPOLOGIES = {
    "three encoders": ([ENCODER] * 3 + [WORKER] * 2, 2),
    "an encoder, then who sees": ([ENCODER] + [WORKER] * 3, 1),
    "an encoder and a processor": ([ENCODER, PROCESSOR, WORKER, WORKER], 2),
    "nobody encodes": ([FAST] * 4, 0),
}


def start(fleet: Fleet, workers: list[tuple[str, ...]]) -> None:
    fleet.frontend()
    for options in workers:
        fleet.worker(*options, "--sim-request-faults")
    fleet.wait_for_workers(len(workers))


def refused(client: openai.OpenAI, *parts: str, **options: Any) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        ask(client, *parts, "What is it?", **options)
    assert (raised.value.status_code, raised.value.code) == (500, "poison_request")


def encoders(fleet: Fleet) -> int:
    return sum(each["stage"] in ("encode", "process") for each in workers_of(fleet))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_picture_that_kills_who_encodes_it_takes_two_workers(fleet: Fleet, topology: str) -> None:
    workers, encoders_lost = TOPOLOGIES[topology]
    start(fleet, workers)
    before = encoders(fleet)
    with fleet.client() as client:
        refused(client, POISON)
        assert lost_workers(fleet, "died") == 2
        assert before - encoders(fleet) == encoders_lost
        refused(client, POISON, seed=7)
        assert metric(fleet, "kvmesh_frontend_poison_refusals_total") == 1
        assert said(ask(client, RED, "What is it?"))
    assert lost_workers(fleet, "died") == 2


def test_a_prompt_that_kills_who_has_fetched_its_picture_takes_two_workers(fleet: Fleet) -> None:
    """The picture is encoded before, so that a worker dies as soon as it is sent the prompt, and
    the encoder's word may come later than that of its death.
    """
    start(fleet, [ENCODER] + [WORKER] * 5)
    with fleet.client() as client:
        assert said(ask(client, RED, "What is it?"))
        refused(client, RED, seed=CRASH_SEED)
        assert lost_workers(fleet, "died") == 2
        assert encoders(fleet) == 1
        assert said(ask(client, RED, "What else is it?"))
