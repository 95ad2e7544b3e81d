"""Each query of Grafana's board has data from a real Prometheus that scrapes a real mesh."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from starter.ports import free_port
from tests.kit.board import ENGINES_ROW, Asked, all_asked
from tests.kit.fleet import Fleet
from tests.kit.prometheus import Prometheus, needs_prometheus, start_prometheus
from tests.kit.reference_boards import frontend_queries, router_queries, worker_queries

pytestmark = needs_prometheus

MODEL = "demo"
QUERIES = [each for each in all_asked() if each.row != ENGINES_ROW]
REFERENCE = [
    Asked("reference product", "", query)
    for query in (*frontend_queries(MODEL), *router_queries(), *worker_queries(MODEL))
]
FAILS_SEED = 770_001
BEGINNING = "What all of these prompts begin with, and what an engine has cached of them. " * 40


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("board"))
    yield fleet
    fleet.stop()


@pytest.fixture(scope="module")
def prometheus(fleet: Fleet) -> Prometheus:
    """Of a frontend and three workers, two of which serve one model."""
    fleet.frontend()
    ports = [free_port() for _ in range(3)]
    for number, port in enumerate(ports):
        fleet.worker(
            *("--served-model-name", MODEL if number < 2 else "other", "--sim-request-faults"),
            *("--worker-id", f"w{number}", "--system-port", str(port)),
        )
    fleet.wait_for_workers(3)
    return start_prometheus(fleet, workers=ports)


def _load(fleet: Fleet, number: int) -> None:
    """Requests of every kind and outcome."""
    with fleet.client() as client:
        for stream in (False, True):
            answer = client.chat.completions.create(
                model=MODEL,
                messages=[{"role": "user", "content": f"{BEGINNING}{number}"}],
                max_tokens=6,
                stream=stream,
            )
            if isinstance(answer, openai.Stream):
                assert list(answer)
        with pytest.raises(openai.InternalServerError):
            client.completions.create(model=MODEL, prompt="x", seed=FAILS_SEED)
        with pytest.raises(openai.BadRequestError):
            client.completions.create(model=MODEL, prompt="x", temperature=9)
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="nobody's", prompt="x")
        with pytest.raises(openai.InternalServerError):
            client.completions.create(model="other", prompt="x", timeout=10)
    body = {"model": MODEL, "prompt": "x", "max_tokens": 5_000, "stream": True}
    with httpx.stream("POST", f"{fleet.url}/v1/completions", json=body) as answer:
        next(answer.iter_lines())  # and leaves


def _lose_workers(fleet: Fleet) -> None:
    """The only worker of a model leaves, and one of two dies while it answers."""
    fleet.processes[3].stop()
    body = {"model": MODEL, "prompt": "x", "max_tokens": 400, "stream": True}
    with (
        httpx.stream("POST", f"{fleet.url}/v1/completions", json=body) as first,
        httpx.stream("POST", f"{fleet.url}/v1/completions", json=body) as second,
    ):
        streams = first.iter_lines(), second.iter_lines()
        for lines in streams:
            assert next(lines)
        fleet.processes[1].kill()
        for lines in streams:
            assert [line for line in lines if line][-1] == "data: [DONE]"


def test_every_query_of_boards_has_data(fleet: Fleet, prometheus: Prometheus) -> None:
    """Of ours, and of those that are made for the reference product."""
    queries = [*QUERIES, *REFERENCE]
    assert [each for each in queries if not prometheus.numbers(each.query)]
    _lose_workers(fleet)
    empty, number = queries, 0

    def full() -> bool:
        nonlocal empty, number
        number += 1
        _load(fleet, number)
        empty = [each for each in empty if not prometheus.numbers(each.query)]
        return not empty

    try:
        fleet.wait_until(full, "every panel has data", wait_s_max=45)
    finally:
        assert not empty, "\n".join(map(_told, empty))


def _told(each: Asked) -> str:
    return f"{each.row} / {each.panel}: {each.query}"
