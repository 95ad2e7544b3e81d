"""A client that leaves frees the engine at once, wherever its request is by then, and ten thousand
of them leave nothing behind.
"""

import asyncio
import contextlib
import operator
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from starter.addresses import worker_command
from starter.process import Process
from tests.fault.raw_http import (
    WAYS_TO_LEAVE,
    asked,
    connected,
    metric,
    one_answer,
    parsed,
    request_bytes,
    requests_running,
)
from tests.kit.fleet import Fleet

FREE_S_MAX = 2.0
"""Generous: it takes some milliseconds."""

LONG = {"model": "demo", "prompt": "hi", "max_tokens": 7_000}
SHORT = {"model": "demo", "prompt": "hi", "max_tokens": 1}
MUTE_SEED = 770_003

CASES: dict[str, dict[str, Any]] = {
    "unary": LONG,
    "streamed": LONG | {"stream": True},
    "eight choices": LONG | {"n": 8},
    "eight choices streamed": LONG | {"n": 8, "stream": True},
    "four prompts": LONG | {"prompt": ["a", "b", "c", "d"], "n": 2},
    "before the first token": LONG | {"seed": MUTE_SEED},
    "before the first token, streamed": LONG | {"seed": MUTE_SEED, "stream": True},
    "more choices than the worker has room for": LONG | {"n": 100},
}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend, and a worker that runs one request at a time and takes a minute for a long
    one.
    """
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    # The slower library, so that there is a thread at work for a while.
    fleet.frontend("--tokenizer-backend", "hf")
    fleet.worker(
        *("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192"),
        *("--max-running-requests", "1", "--sim-request-faults"),
    )
    # Its prompts are not cut, so that they are tokenized for seconds.
    fleet.worker("--served-model-name", "wide", "--context-length", "2000000")
    fleet.wait_for_workers(2)
    yield fleet
    fleet.stop()


def _outstanding(fleet: Fleet) -> float:
    return requests_running(fleet) + metric(fleet, "kvmesh_frontend_queued_requests")


def _cancelled(fleet: Fleet, **labels: str) -> float:
    return metric(fleet, "dynamo_frontend_model_cancellation_total", **labels)


def _free(fleet: Fleet) -> bool:
    return _outstanding(fleet) == 0 and metric(fleet, "dynamo_frontend_inflight_requests") == 0


def _assert_free_soon(fleet: Fleet) -> None:
    """Nothing is outstanding, and the one place of the engine can be had: a request is answered
    that would wait for a minute otherwise.
    """
    fleet.wait_until(lambda: _free(fleet), "everything is free", wait_s_max=FREE_S_MAX)
    with asked(fleet, SHORT) as next_one:
        next_one.settimeout(FREE_S_MAX)
        assert parsed(one_answer(next_one))[0] == 200


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
@pytest.mark.parametrize("case", CASES)
def test_a_running_request_ends_with_its_client(narrow: Fleet, case: str, way: str) -> None:
    body = CASES[case]
    labels = {
        "model": "demo",
        "endpoint": "completions",
        "request_type": "stream" if body.get("stream") else "unary",
    }
    before = _cancelled(narrow, **labels)
    choices = body.get("n", 1) * (len(body["prompt"]) if isinstance(body["prompt"], list) else 1)
    with asked(narrow, body) as connection:
        # Choices are sent one after the other: with one place in the fleet the second one waits,
        # and the stream with it.
        narrow.wait_until(lambda: _outstanding(narrow) >= min(choices, 2), "it runs")
        if body.get("stream") and choices == 1 and "seed" not in body:
            assert connection.recv(10)
        WAYS_TO_LEAVE[way](connection)
        _assert_free_soon(narrow)
    assert _cancelled(narrow, **labels) == before + 1


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
def test_a_request_that_waits_behind_another_ends_with_its_client_and_the_other_goes_on(
    narrow: Fleet, way: str
) -> None:
    with asked(narrow, LONG | {"stream": True}) as first:
        assert first.recv(10)
        for stream in (False, True):
            with asked(narrow, LONG | {"stream": stream}) as second:
                narrow.wait_until(lambda: _outstanding(narrow) == 2, "it waits")
                WAYS_TO_LEAVE[way](second)
                narrow.wait_until(
                    lambda: _outstanding(narrow) == 1, "it is gone", wait_s_max=FREE_S_MAX
                )
        assert first.recv(10)
    _assert_free_soon(narrow)


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
def test_a_client_may_leave_while_it_sends_its_body(narrow: Fleet, way: str) -> None:
    before = _cancelled(narrow, model="", request_type="unary")
    with connected(narrow) as connection:
        connection.sendall(request_bytes(LONG)[:-5])
        narrow.wait_until(
            lambda: metric(narrow, "dynamo_frontend_inflight_requests") == 1, "it sends"
        )
        WAYS_TO_LEAVE[way](connection)
        _assert_free_soon(narrow)
    assert _cancelled(narrow, model="", request_type="unary") == before + 1


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
def test_a_client_may_leave_while_its_prompt_is_tokenized(narrow: Fleet, way: str) -> None:
    before = _cancelled(narrow)
    # A reset may throw away the end of the body, and the model's name with it.
    with asked(narrow, {"model": "wide", "prompt": "one two three " * 400_000}) as connection:
        narrow.wait_until(
            lambda: metric(narrow, "dynamo_frontend_inflight_requests") == 1, "it is at work"
        )
        WAYS_TO_LEAVE[way](connection)
        _assert_free_soon(narrow)
    assert _cancelled(narrow) == before + 1


@pytest.mark.parametrize("way", WAYS_TO_LEAVE)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_request_with_another_pipelined_behind_it_ends_with_its_client(
    narrow: Fleet, way: str, at_once: bool
) -> None:
    requests = [request_bytes(LONG | {"stream": True}), request_bytes(SHORT)]
    with connected(narrow) as connection:
        connection.sendall(b"".join(requests) if at_once else requests[0])
        assert connection.recv(10)
        if not at_once:
            connection.sendall(requests[1])
            # nothing tells that the server has read it; it makes no difference to the outcome
            time.sleep(0.1)
        WAYS_TO_LEAVE[way](connection)
        _assert_free_soon(narrow)


@pytest.mark.parametrize("stream", [False, True])
def test_a_deadline_of_the_request_ends_it_and_frees_the_engine(
    narrow: Fleet, stream: bool
) -> None:
    with asked(narrow, LONG | {"stream": stream}, "x-request-timeout-ms: 700") as connection:
        answer = b""
        while b"deadline_exceeded" not in answer:
            piece = connection.recv(65_536)
            assert piece
            answer += piece
    assert b"within 0.7 seconds" in answer
    assert answer.startswith(b"HTTP/1.1 200" if stream else b"HTTP/1.1 504")
    _assert_free_soon(narrow)


def _descriptors(process: Process) -> int:
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


def _resident_bytes(process: Process) -> int:
    return int(Path(f"/proc/{process.popen.pid}/statm").read_text().split()[1]) * 4096


async def _leave_often(port: int, cycles: int, rng: random.Random) -> None:
    """Ask and leave, 32 at a time, at every moment between the first byte sent and some tokens."""
    left = iter(range(cycles))

    async def client() -> None:
        for _ in left:
            body = LONG | {"stream": rng.random() < 0.5, "n": rng.choice([1, 1, 1, 3])}
            request = request_bytes(body)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                request[
                    : rng.choice([len(request), len(request), len(request), 40, len(request) - 1])
                ]
            )
            await writer.drain()
            if body["stream"] and rng.random() < 0.3:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(100), 0.1)
            elif rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.02)
            writer.transport.abort()

    async with asyncio.TaskGroup() as clients:
        for _ in range(32):
            clients.create_task(client())


def test_ten_thousand_clients_that_leave_leave_nothing_behind(fleet: Fleet) -> None:
    # Real commands: a fork's memory grows by every page of its libraries that it is first to use.
    frontend = fleet.launch("frontend", fleet.addresses.frontend_command())
    options = ("--engine", "sim", "--served-model-name", "demo", "--context-length", "8192")
    worker = fleet.launch("worker", worker_command([fleet.mesh], *options, "--sim-speedup", "1"))
    fleet.wait_for_workers(1)

    def settled() -> bool:
        return _free(fleet) and metric(fleet, "kvmesh_frontend_tasks") <= idle_tasks

    def sizes(measure: Callable[[Process], int]) -> list[int]:
        return [measure(process) for process in (frontend, worker)]

    def grown_mb() -> float:
        """Has 5,000 more clients come and leave; returns by how much a process has grown."""
        before = sizes(_resident_bytes)
        asyncio.run(_leave_often(fleet.http_port, 5_000, rng))
        fleet.wait_until(settled, "all are gone", wait_s_max=10)
        return max(map(operator.sub, sizes(_resident_bytes), before)) / 1e6

    idle_tasks = metric(fleet, "kvmesh_frontend_tasks")
    rng = random.Random(4)
    grown_mb()  # which brings what memory and descriptors a process needs at all
    descriptors_before = sizes(_descriptors)
    # A leak grows in every round, by a megabyte if a client leaves 200 bytes behind; a heap that
    # has not seen the worst moment yet does so in some.
    rounds = [grown_mb()]
    while rounds[-1] >= 1 and len(rounds) < 5:
        rounds.append(grown_mb())
    cancelled = _cancelled(fleet)
    print(f"{cancelled:.0f} cancelled, memory grew by {rounds} MB")
    assert rounds[-1] < 1
    assert cancelled > 5_000  # the others left before their headers had ended
    fleet.wait_until(
        lambda: all(map(operator.le, sizes(_descriptors), descriptors_before)),
        "descriptors are closed",
        wait_s_max=10,
    )
