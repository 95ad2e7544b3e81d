"""What becomes of pictures that are being made when their worker dies, stops, leaves or is sick."""

import base64
import io
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from starter.process import Process
from tests.kit.fleet import Fleet

MODEL = "sim-images"
WORKER = ("--image-diffusion-worker", "--sim-step-ms", "1500")
"""A picture of 512 pixels in 8 steps takes three seconds."""

QUICK = ("--image-diffusion-worker", "--sim-step-ms", "1")


def ask(client: openai.OpenAI, **fields: Any) -> list[bytes]:
    usual: dict[str, Any] = {"prompt": "a boat", "size": "512x512", "response_format": "b64_json"}
    answer = client.images.generate(model=MODEL, **(usual | fields))
    return [base64.b64decode(each.b64_json or "") for each in answer.data or ()]


def running(fleet: Fleet) -> list[int]:
    """How many requests each worker's engine runs, by its name."""
    workers = sorted(fleet.get("/health")[1]["workers"], key=lambda each: each["worker_id"])
    return [sum(worker["engine_requests"]) for worker in workers]


@contextmanager
def being_made(fleet: Fleet, workers: dict[str, Process], **fields: Any) -> Iterator[Any]:
    """A picture, and the worker that makes it: a future and a process."""
    with fleet.client() as client, ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client, extra_body={"nvext": {"seed": 5}}, **fields)
        fleet.wait_until(lambda: 1 in running(fleet), "a worker makes it")
        yield answer, workers[sorted(workers)[running(fleet).index(1)]]


def two_workers(fleet: Fleet, *options: str) -> dict[str, Process]:
    fleet.frontend()
    workers = {name: fleet.worker(*WORKER, *options, "--worker-id", name) for name in ("a", "b")}
    fleet.wait_for_workers(2)
    return workers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_picture_whose_worker_is_lost_is_made_by_another(
    number: signal.Signals, fleet: Fleet
) -> None:
    workers = two_workers(fleet)
    with being_made(fleet, workers) as (answer, worker):
        worker.popen.send_signal(number)
        [picture] = answer.result()
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.size == (512, 512)
    worker.popen.kill()
    with fleet.client() as client:  # the same picture that the lost one would have made
        assert ask(client, extra_body={"nvext": {"seed": 5}}) == [picture]


@pytest.mark.parametrize("fields", [{"response_format": "b64_json"}, {"response_format": "url"}])
def test_what_was_lost_before_it_was_fetched_is_made_again(
    fields: dict[str, Any], fleet: Fleet
) -> None:
    fleet.frontend()
    options = ("--engine", "sim", "--frontend", fleet.mesh, *QUICK, "--served-model-name", MODEL)
    forgetful = fleet.start("tests.fleet.forgetful_worker", *options)
    fleet.wait_for_workers(1)
    fleet.worker(*QUICK)
    fleet.wait_for_workers(2)
    with fleet.client() as client, ThreadPoolExecutor(8) as threads:
        made = [threads.submit(client.images.generate, prompt="a boat", **fields) for _ in range(8)]
        for answer in made:
            [picture] = answer.result().data or ()
            if picture.url:
                assert httpx.get(picture.url).status_code == 200
    assert forgetful.popen.wait(15) == 9


def test_behind_the_last_seed_comes_the_first(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*QUICK)
    fleet.wait_for_workers(1)
    body = {"prompt": "a boat", "n": 2, "size": "64x64", "seed": 2**63 - 1}
    answer = httpx.post(f"{fleet.url}/v1/images/generations", json=body)
    assert [each["seed"] for each in answer.json()["data"]] == [2**63 - 1, 0]


def test_more_than_is_kept_is_made_once_and_said_to_be_too_much(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*QUICK, "--media-output-mb", "1")
    fleet.wait_for_workers(1)
    noise = io.BytesIO()
    Image.frombytes("RGB", (768, 768), random.Random(1).randbytes(768 * 768 * 3)).save(noise, "png")
    with fleet.client() as client, pytest.raises(openai.InternalServerError) as caught:
        client.images.edit(prompt="a boat", image=noise.getvalue(), n=3, extra_body={"seed": 1})
    assert caught.value.code == "engine_fault"
    assert "more than the" in caught.value.message


def test_a_worker_that_leaves_finishes_its_picture_first(fleet: Fleet) -> None:
    workers = two_workers(fleet)
    with being_made(fleet, workers) as (answer, worker):
        worker.popen.send_signal(signal.SIGTERM)
        assert len(answer.result()) == 1
        assert worker.popen.wait(15) == 0
    assert "unfinished" not in worker.output()


def test_a_worker_that_is_told_twice_leaves_its_picture_to_another(fleet: Fleet) -> None:
    workers = two_workers(fleet)
    with being_made(fleet, workers) as (answer, worker):
        worker.popen.send_signal(signal.SIGTERM)
        fleet.wait_until(lambda: "draining" in worker.output(), "it drains")
        worker.popen.send_signal(signal.SIGTERM)
        assert len(answer.result()) == 1


def test_a_client_that_leaves_stops_what_is_made_for_it(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker("--image-diffusion-worker")
    fleet.wait_for_workers(1)
    body = {"model": MODEL, "prompt": "a boat", "nvext": {"num_inference_steps": 1_000}}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{fleet.url}/v1/images/generations", json=body, timeout=1)
    fleet.wait_until(lambda: running(fleet) == [0], "nothing is made")
    with fleet.client() as client:
        assert len(ask(client)) == 1


def test_a_request_that_kills_workers_is_found_out(fleet: Fleet) -> None:
    fleet.frontend()
    for _ in range(4):
        fleet.worker(*QUICK, "--sim-request-faults")
    fleet.wait_for_workers(4)
    with fleet.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client, extra_body={"nvext": {"seed": 770_002}})
        assert caught.value.code == "poison_request"
        assert len(ask(client, prompt="a house")) == 1  # by one that was spared
    assert sum(each.popen.poll() is None for each in fleet.processes) >= 2


def test_a_generator_that_dies_costs_its_worker_nothing(fleet: Fleet) -> None:
    fleet.frontend()
    worker = fleet.worker(*QUICK, "--sim-fault", "engine-death-after-tokens=20")
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        for _ in range(4):  # of which the death moves one, to the same worker
            assert len(ask(client)) == 1
    assert worker.popen.poll() is None


def test_pictures_of_many_clients_come_from_all_workers(fleet: Fleet) -> None:
    fleet.frontend()
    for name in ("a", "b"):
        fleet.worker("--image-diffusion-worker", "--sim-step-ms", "50", "--worker-id", name)
    fleet.wait_for_workers(2)
    seen: set[int] = set()
    with fleet.client() as client, ThreadPoolExecutor(20) as threads:
        answers = [threads.submit(ask, client, prompt=f"boat {n}", n=2) for n in range(20)]
        fleet.wait_until(lambda: all(running(fleet)), "both make pictures")
        pictures = [picture for answer in answers for picture in answer.result()]
        seen.update(map(hash, pictures))
    assert len(seen) == 40
    fleet.wait_until(lambda: running(fleet) == [0, 0], "nothing is made any more")
