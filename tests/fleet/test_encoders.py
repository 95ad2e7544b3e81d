"""Pictures encoded by workers of their own, on the simulation: what each topology answers, and what
becomes of requests whose encoder fails.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.fleet.pictures import data_url, picture
from tests.fleet.test_kv_routing import workers_of
from tests.fleet.test_pictures import MODEL, SIM, messages, said
from tests.kit.fleet import Fleet

RED, BLUE = data_url(picture("red")), data_url(picture("blue", (140, 112)))

FAST = (*SIM, "--sim-speedup", "0")
ENCODER = (*FAST, "--multimodal-encode-worker")
PROCESSOR = (*FAST, "--multimodal-processor")
WORKER = (*FAST, "--multimodal-worker")

TOPOLOGIES = {
    "one ordinary worker": [FAST],
    "E/PD": [ENCODER, WORKER],
    "two encoders": [ENCODER, ENCODER, WORKER],
    "processor": [PROCESSOR, WORKER],
    "processor and encoder": [PROCESSOR, ENCODER, WORKER],
    "nobody encodes": [WORKER],
    "encoder beside an ordinary worker": [ENCODER, FAST],
    "E/P/D": [
        ENCODER,
        (*WORKER, "--disaggregation-mode", "prefill"),
        (*WORKER, "--disaggregation-mode", "decode"),
    ],
    "E/P/D, newer spelling": [
        (*FAST, "--enable-multimodal", "--disaggregation-mode", "encode"),
        *(
            (*FAST, "--enable-multimodal", "--dedicated-mm-encoder", "--disaggregation-mode", mode)
            for mode in ("prefill", "decode")
        ),
    ],
    "E/PD, newer spelling": [
        (*FAST, "--enable-multimodal", "--disaggregation-mode", "encode"),
        (*FAST, "--enable-multimodal", "--dedicated-mm-encoder", "--disaggregation-mode", "pd"),
    ],
}
ENCODED = {name for name in TOPOLOGIES if name.startswith("E/") or name == "two encoders"}


def ask(client: openai.OpenAI, *parts: str, **options: Any) -> Any:
    return client.chat.completions.create(
        model=MODEL, messages=messages(*parts), max_tokens=8, temperature=0, **options
    )


def encoded(fleet: Fleet) -> float:
    """How many pictures the frontend has had encoded, for it or for somebody else before."""
    lines = httpx.get(f"{fleet.url}/metrics").text.splitlines()
    name = "kvmesh_frontend_encoded_images_total{"
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """What an ordinary worker says to each of the chats."""
    fleet = Fleet(tmp_path_factory.mktemp("ordinary"))
    fleet.frontend()
    fleet.worker(*FAST)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        yield [said(ask(client, *parts)) for parts in CHATS]
    fleet.stop()


CHATS = [(RED, "What is it?"), (BLUE, "What is it?"), (RED, BLUE, "And these?"), ("No picture.",)]


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_topology_says_the_same(fleet: Fleet, topology: str, undisturbed: list[str]) -> None:
    fleet.frontend()
    for options in TOPOLOGIES[topology]:
        fleet.worker(*options)
    fleet.wait_for_workers(len(TOPOLOGIES[topology]))
    with fleet.client() as client:
        assert [said(ask(client, *parts)) for parts in CHATS] == undisturbed
        streamed = ask(client, RED, BLUE, "And these?", stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in streamed)
        assert text == undisturbed[2]
    apart = topology in ENCODED or topology.startswith("processor")
    assert (encoded(fleet) > 0) is apart


def busy(fleet: Fleet) -> list[str]:
    """The encoders that are at work."""
    return [
        each["worker_id"]
        for each in workers_of(fleet)
        if each["stage"] == "encode" and any(each["requests"])
    ]


@pytest.mark.parametrize("names", [("e0",), ("e0", "e1")], ids=["the worker itself", "another"])
def test_what_a_killed_encoder_did_not_encode(
    fleet: Fleet, undisturbed: list[str], names: tuple[str, ...]
) -> None:
    fleet.frontend()
    options = (*SIM, "--multimodal-encode-worker", "--sim-encode-ms", "2000")
    encoders = {name: fleet.worker(*options, "--worker-id", name) for name in names}
    fleet.worker(*WORKER)
    fleet.wait_for_workers(1 + len(names))
    with fleet.client() as client, ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client, RED, "What is it?")
        fleet.wait_until(lambda: bool(busy(fleet)), "an encoder is busy")
        encoders[busy(fleet)[0]].kill()
        assert said(answer.result()) == undisturbed[0]
    assert encoded(fleet) <= len(names) - 1  # late words of it are not counted


def test_an_encoder_that_does_not_answer_is_not_waited_for(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*SIM, "--multimodal-encode-worker", "--sim-encode-ms", "1000000")
    fleet.worker(*WORKER)
    fleet.wait_for_workers(2)
    with fleet.client() as client:
        assert said(ask(client, RED, "What is it?"))
    reasons = httpx.get(f"{fleet.url}/health").json()["reasons"]
    assert any("is unhealthy: rank 0 has not answered" in reason for reason in reasons)


def test_a_client_that_leaves_stops_what_is_encoded_for_it(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*SIM, "--multimodal-encode-worker", "--sim-encode-ms", "100000")
    fleet.worker(*WORKER)
    fleet.wait_for_workers(2)
    body = {"model": MODEL, "messages": messages(RED, "What is it?"), "max_tokens": 8}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{fleet.url}/v1/chat/completions", json=body, timeout=1)
    fleet.wait_until(
        lambda: not any(any(each["requests"]) for each in workers_of(fleet)), "nothing runs"
    )
