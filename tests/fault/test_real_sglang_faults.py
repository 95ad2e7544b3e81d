"""What happens to answers of real SGLang when workers are drained, stopped, killed, and when clients leave: greedy text stays the same.

Two workers on the CPU serve the demo model; the tests run in order, and each destructive one leaves what the next one needs.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import openai
import psutil
import pytest

from tests.fault.raw_http import asked, metric, requests_running
from tests.fleet.processes import Fleet, Process
from workers.departure import EXIT_ENGINE_DIED

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(600)]

MODEL = "kvmesh-demo"
START_S_MAX = 300
PROMPTS = [f"<|im_start|>user\nTell me about number {number}<|im_end|>\n<|im_start|>assistant\n" for number in range(4)]
TOKENS = 400
SETTINGS = ("--max-running-requests", "8", "--max-total-tokens", "16384")


@dataclass
class Pair:
    """A frontend with two real workers, and what the model says when nobody disturbs it."""

    fleet: Fleet
    workers: dict[str, Process]
    calm: list[str]

    def start(self, name: str) -> None:
        self.workers[name] = self.fleet.worker("--worker-id", name, *SETTINGS, engine="sglang")

    def busy(self) -> str:
        """The worker that runs most."""
        workers = self.fleet.get("/health")[1]["workers"]
        return max(workers, key=lambda worker: sum(worker["requests"]))["worker_id"]


async def _say(client: openai.AsyncOpenAI, prompt: str, begun: asyncio.Semaphore) -> str:
    options = {"max_tokens": TOKENS, "temperature": 0, "extra_body": {"ignore_eos": True}}
    text = ""
    async for chunk in await client.completions.create(model=MODEL, prompt=prompt, stream=True, **options):
        if not text:
            begun.release()
        text += chunk.choices[0].text
    return text


async def _answers(fleet: Fleet, disturb: Callable[[], None] = lambda: None) -> list[str]:
    """What the model says to each prompt; `disturb` is called when all answers have begun."""
    begun = asyncio.Semaphore(0)
    async with fleet.async_client() as client, asyncio.TaskGroup() as tasks:
        saying = [tasks.create_task(_say(client, prompt, begun)) for prompt in PROMPTS]
        for _ in PROMPTS:
            await begun.acquire()
        disturb()
    return [task.result() for task in saying]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    fleet = Fleet(tmp_path_factory.mktemp("real-faults"))
    fleet.frontend()
    pair = Pair(fleet, {}, [])
    for name in ("one", "two"):
        pair.start(name)
    fleet.wait_for_workers(2, wait_s_max=START_S_MAX)
    pair.calm = asyncio.run(_answers(fleet))
    yield pair
    fleet.stop()


def test_a_client_that_leaves_before_the_first_token_frees_the_engine(pair: Pair) -> None:
    body = {"model": MODEL, "prompt": list(range(3, 2003)), "max_tokens": 4000, "ignore_eos": True, "stream": True}
    for stream in (True, False):
        connection = asked(pair.fleet, body | {"stream": stream})
        pair.fleet.wait_until(lambda: requests_running(pair.fleet) > 0, "it is at a worker")
        connection.close()
        pair.fleet.wait_until(lambda: requests_running(pair.fleet) == 0, "the engines are idle")


def test_a_stopped_worker_loses_no_text(pair: Pair) -> None:
    stopped: list[Process] = []

    def stop() -> None:
        stopped.append(pair.workers[pair.busy()])
        stopped[0].popen.send_signal(signal.SIGSTOP)

    try:
        assert asyncio.run(_answers(pair.fleet, stop)) == pair.calm
    finally:
        stopped[0].popen.send_signal(signal.SIGCONT)
    pair.fleet.wait_for_workers(2)  # it comes back by itself
    pair.fleet.wait_until(lambda: requests_running(pair.fleet) == 0, "nobody's requests are stopped")
    assert metric(pair.fleet, "kvmesh_frontend_migrations_total", cause="silent", outcome="moved") > 0


def test_a_frozen_scheduler_loses_no_text(pair: Pair) -> None:
    frozen: list[psutil.Process] = []

    def freeze() -> None:
        children = psutil.Process(pair.workers[pair.busy()].popen.pid).children(recursive=True)
        frozen.extend(child for child in children if "scheduler" in child.name())
        frozen[0].suspend()

    try:
        assert asyncio.run(_answers(pair.fleet, freeze)) == pair.calm
    finally:
        frozen[0].resume()
    pair.fleet.wait_for_workers(2)
    assert metric(pair.fleet, "kvmesh_frontend_migrations_total", cause="unhealthy", outcome="moved") > 0


def test_a_drained_worker_finishes_its_streams(pair: Pair) -> None:
    drained: list[str] = []

    def drain() -> None:
        drained.append(pair.busy())
        pair.workers[drained[0]].popen.send_signal(signal.SIGTERM)

    moved = metric(pair.fleet, "kvmesh_frontend_migrations_total")
    assert asyncio.run(_answers(pair.fleet, drain)) == pair.calm
    assert metric(pair.fleet, "kvmesh_frontend_migrations_total") == moved
    worker = pair.workers[drained[0]]
    assert worker.popen.wait(60) == 0
    assert worker.children_left() == []
    pair.start(drained[0])
    pair.fleet.wait_for_workers(2, wait_s_max=START_S_MAX)


def test_a_killed_scheduler_loses_no_text_and_ends_its_worker(pair: Pair) -> None:
    hit: list[str] = []

    def kill() -> None:
        hit.append(pair.busy())
        children = psutil.Process(pair.workers[hit[0]].popen.pid).children(recursive=True)
        next(child for child in children if "scheduler" in child.name()).kill()

    assert asyncio.run(_answers(pair.fleet, kill)) == pair.calm
    worker = pair.workers[hit[0]]
    assert worker.popen.wait(60) == EXIT_ENGINE_DIED
    assert worker.children_left() == []
    pair.fleet.processes.remove(worker)  # its exit is none that a fleet should complain about
    pair.start(hit[0])
    pair.fleet.wait_for_workers(2, wait_s_max=START_S_MAX)


def test_a_killed_worker_loses_no_text(pair: Pair) -> None:
    """Last: it leaves one worker."""
    died = metric(pair.fleet, "kvmesh_frontend_migrations_total", cause="died", outcome="moved")
    assert asyncio.run(_answers(pair.fleet, lambda: pair.workers[pair.busy()].popen.kill())) == pair.calm  # noqa: PLW0108 - who is busy shows later
    assert metric(pair.fleet, "kvmesh_frontend_migrations_total", cause="died", outcome="moved") > died
