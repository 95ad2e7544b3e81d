"""Prefill and decode workers behind one frontend: requests in two legs, as clients see them."""

import asyncio
import json
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.kit.fleet import Fleet

PROMPT = list(range(300, 500))
TELL = {"nvext": {"extra_fields": ["worker_id", "cached_tokens"]}}


@pytest.fixture
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path_factory.mktemp("legs"))
    fleet.frontend()
    yield fleet
    fleet.stop()


def leg(fleet: Fleet, mode: str, name: str, *more: str) -> Any:
    return fleet.worker("--disaggregation-mode", mode, "--worker-id", name, *more)


def answer(fleet: Fleet, prompt: list[int] = PROMPT, **fields: Any) -> Any:
    body = {"model": "kvmesh-demo", "prompt": prompt, "max_tokens": 12, **TELL, **fields}
    told = httpx.post(f"{fleet.url}/v1/completions", json=body, timeout=60)
    assert told.status_code == 200, told.text
    return told.json()


def idle(fleet: Fleet) -> bool:
    return all(
        not any(worker["engine_requests"]) and not any(worker["requests"])
        for worker in fleet.get("/health")[1]["workers"]
    )


def test_two_legs_answer_as_one_worker_does(fleet: Fleet) -> None:
    fleet.worker("--worker-id", "w")
    fleet.wait_for_workers(1)
    whole = answer(fleet)
    for mode in ("prefill", "decode"):
        leg(fleet, mode, mode[0])
    fleet.wait_for_workers(3)
    pinned = {"nvext": {**TELL["nvext"], "decode_worker_id": "d", "prefill_worker_id": "p"}}
    first = answer(fleet, **pinned)
    again = answer(fleet, **pinned)
    assert first["choices"] == whole["choices"]
    assert first["usage"] == whole["usage"]
    assert first["nvext"]["worker_id"] == {
        "prefill_worker_id": "p",
        "prefill_dp_rank": 0,
        "decode_worker_id": "d",
        "decode_dp_rank": 0,
    }
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == 192
    several = answer(fleet, n=3, temperature=1.0, **pinned)
    assert len({choice["text"] for choice in several["choices"]}) >= 1
    assert [choice["finish_reason"] for choice in several["choices"]] == ["length"] * 3


def test_a_pair_whose_mesh_leaves_the_host_meets_under_its_key(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    fleet = Fleet(tmp_path_factory.mktemp("keyed"))
    key = fleet.directory / "mesh.key"
    key.write_text("ab" * 32)
    keyed = "--mesh-key-file", str(key)
    try:
        fleet.frontend(*keyed)
        # as where one of its frontends is on another host
        workers = [
            leg(fleet, "prefill", "p", "--host", "0.0.0.0", *keyed),
            leg(fleet, "decode", "d", *keyed),
        ]
        fleet.wait_for_workers(2)
        with fleet.client() as client:
            told = client.chat.completions.create(
                model="kvmesh-demo",
                messages=[{"role": "user", "content": "Hi"}],
                max_tokens=12,
                extra_body=TELL,
            )
        assert told.usage.completion_tokens == 12
        legs = told.nvext["worker_id"]
        assert (legs["prefill_worker_id"], legs["decode_worker_id"]) == ("p", "d")
        assert [worker.stop(signal.SIGTERM) for worker in workers] == [0, 0]
    finally:
        fleet.stop()


def test_a_leg_that_nobody_runs_is_said_and_comes_back(fleet: Fleet) -> None:
    leg(fleet, "decode", "d")
    fleet.wait_for_workers(1)
    status, page = fleet.get("/health")
    assert (status, page["reasons"]) == (503, ["no prefill worker serves the model kvmesh-demo"])
    assert fleet.get("/v1/models/kvmesh-demo/ready")[0] == 503
    refused = httpx.post(
        f"{fleet.url}/v1/completions", json={"model": "kvmesh-demo", "prompt": "hi"}, timeout=60
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "no_worker")
    assert "No prefill worker serves" in refused.json()["error"]["message"]
    prefill = leg(fleet, "prefill", "p")
    fleet.wait_for_workers(2)
    assert answer(fleet)["usage"]["completion_tokens"] == 12
    assert prefill.stop(signal.SIGTERM) == 0
    fleet.wait_until(lambda: fleet.get("/health")[0] == 503, "the prefill worker is missed")
    leg(fleet, "prefill", "p2")
    fleet.wait_for_workers(2)
    assert answer(fleet)["usage"]["completion_tokens"] == 12


async def _stream(client: openai.AsyncOpenAI, begun: asyncio.Event, tokens: int) -> str:
    text = ""
    events = await client.completions.create(
        model="kvmesh-demo", prompt=PROMPT, max_tokens=tokens, stream=True
    )
    async for event in events:
        text += event.choices[0].text if event.choices else ""
        begun.set()
    return text


@pytest.mark.parametrize("victim", ["d1", "p1"])
async def test_streams_go_on_where_a_leg_is_killed(fleet: Fleet, victim: str) -> None:
    processes = {
        name: leg(fleet, mode, name, "--sim-speedup", "2")
        for name, mode in (("p1", "prefill"), ("p2", "prefill"), ("d1", "decode"), ("d2", "decode"))
    }
    fleet.wait_for_workers(4)
    client = fleet.async_client()
    tokens = 120
    whole = await _stream(client, asyncio.Event(), tokens)
    begun = [asyncio.Event() for _ in range(16)]
    async with asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(_stream(client, event, tokens)) for event in begun]
        await begun[0].wait()  # some legs are computed, some generate
        processes[victim].stop(signal.SIGKILL)
    assert {stream.result() for stream in streams} == {whole}
    await client.close()


async def test_clients_that_leave_free_both_legs(fleet: Fleet) -> None:
    for mode in ("prefill", "decode"):
        leg(fleet, mode, mode[0], "--sim-speedup", "1")
    fleet.wait_for_workers(2)
    body = json.dumps({"model": "kvmesh-demo", "prompt": PROMPT * 30, "max_tokens": 500}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    request = f"{head}content-type: application/json\r\n\r\n".encode() + body
    for _ in range(20):
        _, writer = await asyncio.open_connection("127.0.0.1", fleet.http_port)
        writer.write(request)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await asyncio.to_thread(fleet.wait_until, lambda: idle(fleet), "both legs are free")
    assert (await asyncio.to_thread(answer, fleet))["usage"]["completion_tokens"] == 12
