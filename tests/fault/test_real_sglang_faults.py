"""The core of what may go wrong on two workers with real SGLang: greedy answers of the demo model
are those of its golden file.

The tests share a frontend, and each is given workers that serve and run nothing, whatever became of
those before: two, but for the last.
"""

import asyncio
import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from starter.ports import free_port
from starter.process import Process
from starter.waiting import NotReady, wait_until
from tests.fault.books import BOOK, BOOKS_ASKED, TOKENIZER, told_book
from tests.fault.raw_http import asked, metric
from tests.fault.streams import lost_workers, moved, on_each_worker
from tests.fault.system_pages import SystemPages
from tests.kit.board import ENGINES_ROW, all_asked
from tests.kit.fleet import Fleet
from tests.kit.prometheus import needs_prometheus, start_prometheus
from tests.kit.reference_boards import engine_queries
from workers.process.departure import EXIT_ENGINE_DIED

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

MODEL = "kvmesh-demo"
START_S_MAX = 300.0
WORKER = (
    *("--max-running-requests", "8", "--max-total-tokens", "16384"),
    *("--enable-metrics", "--canary-wait-time", "1"),
)
TOKENS_MAX = 160
GOLDEN: dict[str, dict[str, Any]] = {
    entry["name"]: entry
    for entry in json.loads((Path(__file__).parents[1] / "demo_model" / "golden.json").read_text())
    if entry["name"] in ("long-story", "long-explanation", "long-count", "many-languages")
}
"""Answers of so many tokens, and a short one that ends by itself; a second or two where all run at
once.
"""


class Pair:
    """A frontend and two workers, each by its name, which no other has had."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.workers: dict[str, Process] = {}
        self.pages: dict[str, SystemPages] = {}
        self._numbers = count()

    def restore(self, workers: int = 2) -> None:
        """Wake who was stopped, start anew who has ended, and wait until so many or more serve and
        run nothing.
        """
        self.wake()
        self.wait_until(lambda: self._whole(workers), wait_s_max=START_S_MAX)

    def wake(self) -> None:
        """Let all processes go on that a test stopped."""
        for worker in self.workers.values():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(worker.popen.pid)
                for each in (process, *process.children(recursive=True)):
                    each.resume()

    def ready(self) -> int:
        """Workers that take requests."""
        return len(self._ready())

    def _ready(self) -> set[str]:
        with suppress(OSError):
            return {
                worker["worker_id"]
                for worker in self.fleet.get("/health")[1]["workers"]
                if worker["ready"]
            }
        return set()

    def _whole(self, count: int) -> bool:
        self.workers = {
            name: worker for name, worker in self.workers.items() if worker.popen.poll() is None
        }
        while len(self.workers) < count:
            name = f"w{next(self._numbers)}"
            self.pages[name] = SystemPages(free_port())
            self.workers[name] = self.fleet.forked_worker(
                *("--worker-id", name, *WORKER, "--system-port", str(self.pages[name].port))
            )
        return self._ready() == self.workers.keys() and not any(on_each_worker(self.fleet).values())

    def wait_until(self, condition: Callable[[], bool], *, wait_s_max: float = 60.0) -> None:
        """As Fleet's, for fleets of which something has ended."""
        wait_until(condition, "the pair is as the test wants it", wait_s_max=wait_s_max)

    def busy(self) -> str:
        """The worker that runs most."""
        runs = on_each_worker(self.fleet)
        name = max(runs, key=runs.__getitem__)
        assert runs[name] > 0
        return name

    def scheduler(self, name: str) -> psutil.Process:
        """Of its engine."""
        children = psutil.Process(self.workers[name].popen.pid).children(recursive=True)
        (scheduler,) = [child for child in children if "scheduler" in child.name()]
        return scheduler


@pytest.fixture(scope="module")
def shared_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = Pair(Fleet(tmp_path_factory.mktemp("pair")))
    pair.fleet.frontend()
    yield pair
    pair.wake()
    pair.fleet.stop()


@pytest.fixture
def pair(shared_pair: Pair) -> Pair:
    """Both workers serve: a test that fails in the midst of a fault takes no other along."""
    shared_pair.restore()
    return shared_pair


async def _tell(
    client: openai.AsyncOpenAI, entry: dict[str, Any], begun: asyncio.Event
) -> tuple[str, str | None, int]:
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=entry["messages"],
        max_tokens=TOKENS_MAX,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, end, tokens, chunks = "", None, 0, 0
    async for chunk in stream:
        chunks += 1
        if chunks == 2:
            begun.set()
        for choice in chunk.choices:
            text += choice.delta.content or ""
            end = choice.finish_reason or end
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    return text, end, tokens


async def _golden_answers(
    pair: Pair, fault: Callable[[], None], others: Iterable[asyncio.Event] = ()
) -> None:
    """All golden answers side by side say what they should, with the fault in their midst and that
    of the others, whose events say that they have begun.
    """
    begun = [asyncio.Event() for _ in GOLDEN]
    async with pair.fleet.async_client() as client, asyncio.TaskGroup() as tasks:
        telling = [
            tasks.create_task(_tell(client, entry, event))
            for entry, event in zip(GOLDEN.values(), begun, strict=True)
        ]
        for event in (*begun, *others):
            await event.wait()
        await asyncio.to_thread(fault)
    for task, entry in zip(telling, GOLDEN.values(), strict=True):
        text, end, tokens = task.result()
        if len(entry["token_ids"]) > TOKENS_MAX:
            assert (text, end, tokens) == (_beginning(entry), "length", TOKENS_MAX)
        else:
            assert (text, end) == (entry["text"], entry["finish"])
            # with the end-of-turn token
            assert tokens in (len(entry["token_ids"]), len(entry["token_ids"]) + 1)


def _beginning(entry: dict[str, Any]) -> str:
    """What its first tokens say."""
    text = TOKENIZER.decode(entry["token_ids"][:TOKENS_MAX])
    assert entry["text"].startswith(text)
    return text


def test_a_client_that_leaves_before_the_first_token_frees_the_engine(pair: Pair) -> None:
    """At any moment from the request's arrival on: while it is parsed, sent, waits in SGLang's
    queue, or is computed.
    """
    fleet = pair.fleet
    for number in range(20):
        prompt = [(number * 31 + index * 7) % 1800 + 10 for index in range(1_000)]
        connection: socket.socket = asked(
            fleet, {"model": MODEL, "prompt": prompt, "max_tokens": 4_000, "ignore_eos": True}
        )
        time.sleep(0.01 * number)
        connection.close()
    # a busy frontend has yet to see the last
    pair.wait_until(lambda: metric(fleet, "dynamo_frontend_model_cancellation_total") == 20)
    # SGLang's own figures, in the heartbeats
    pair.wait_until(lambda: not any(on_each_worker(fleet).values()))


async def test_a_stopped_worker_is_missed_and_comes_back(pair: Pair) -> None:
    victims: list[Process] = []

    def fault() -> None:
        victims.append(pair.workers[pair.busy()])
        victims[0].popen.send_signal(signal.SIGSTOP)
        pair.wait_until(lambda: lost_workers(pair.fleet, "silent") > lost)

    before, lost = moved(pair.fleet, cause="silent"), lost_workers(pair.fleet, "silent")
    await _golden_answers(pair, fault)
    assert moved(pair.fleet, cause="silent") > before
    victims[0].popen.send_signal(signal.SIGCONT)
    pair.wait_until(lambda: pair.ready() == 2)
    await _golden_answers(pair, lambda: None)


async def test_a_frozen_scheduler_keeps_nobody_waiting_and_comes_back(pair: Pair) -> None:
    schedulers: list[psutil.Process] = []

    def fault() -> None:
        schedulers.append(pair.scheduler(pair.busy()))
        schedulers[0].suspend()

    before = moved(pair.fleet, cause="unhealthy")
    await _golden_answers(pair, fault)
    assert moved(pair.fleet, cause="unhealthy") > before
    schedulers[0].resume()
    pair.wait_until(lambda: pair.ready() == 2)
    pair.wait_until(lambda: not any(on_each_worker(pair.fleet).values()))


async def test_a_killed_worker_takes_its_engine_along_and_its_streams_go_on(pair: Pair) -> None:
    """With it documents of a schema are cut in their midst; the same session, so that one worker
    has both.
    """
    victims: list[str] = []
    schedulers: list[psutil.Process] = []
    begun = {name: asyncio.Event() for name in BOOKS_ASKED}

    def fault() -> None:
        # stopped first, and at once, so that no document is whole by the time that it is killed
        schedulers[0].suspend()
        pair.workers[victims[0]].popen.send_signal(signal.SIGKILL)
        # for its silence, where a busy machine had kept it from its beats before
        pair.wait_until(lambda: lost_workers(pair.fleet) > lost)

    before, lost = moved(pair.fleet), lost_workers(pair.fleet)
    async with pair.fleet.async_client() as client, asyncio.TaskGroup() as tasks:
        books: list[asyncio.Task[str]] = []
        for name, asked in BOOKS_ASKED.items():
            books.append(tasks.create_task(told_book(client, asked, begun[name])))
            if not victims:
                await asyncio.to_thread(
                    pair.wait_until, lambda: any(on_each_worker(pair.fleet).values())
                )
                victims.append(pair.busy())
                schedulers.append(pair.scheduler(victims[0]))
        await _golden_answers(pair, fault, begun.values())
    assert moved(pair.fleet) >= before + len(BOOKS_ASKED)
    assert [json.loads(book.result()) for book in books] == [BOOK] * len(BOOKS_ASKED)
    worker = pair.workers[victims[0]]
    worker.popen.wait()
    pair.wait_until(lambda: worker.children_left() == [])


async def test_a_killed_scheduler_is_its_workers_end_and_its_streams_go_on(pair: Pair) -> None:
    victims: list[str] = []

    def fault() -> None:
        victims.append(pair.busy())
        pair.scheduler(victims[0]).kill()
        pair.wait_until(lambda: lost_workers(pair.fleet, "died") == lost + 1)

    before, lost = moved(pair.fleet), lost_workers(pair.fleet, "died")
    await _golden_answers(pair, fault)
    assert moved(pair.fleet) > before
    worker = pair.workers[victims[0]]
    assert worker.popen.wait(30) == EXIT_ENGINE_DIED
    assert worker.children_left() == []


async def test_a_worker_that_is_told_to_stop_finishes_its_long_streams(pair: Pair) -> None:
    stopped: list[Process] = []

    def fault() -> None:
        stopped.append(pair.workers[pair.busy()])
        stopped[0].popen.send_signal(signal.SIGTERM)

    before = moved(pair.fleet, cause="stopped")
    await _golden_answers(pair, fault)
    assert moved(pair.fleet, cause="stopped") == before
    (worker,) = stopped
    assert await asyncio.to_thread(worker.popen.wait, 60) == 0
    assert worker.children_left() == []


@needs_prometheus
def test_what_boards_ask_of_sglang_has_data(shared_pair: Pair) -> None:
    """Ours, and those that are made for the reference product, whose means have none as long as one
    worker of several runs nothing.
    """
    pair = shared_pair
    pair.restore(workers=1)
    prometheus = start_prometheus(
        pair.fleet, workers=[pair.pages[name].port for name in pair.workers]
    )
    empty = [each.query for each in all_asked() if each.row == ENGINES_ROW] + engine_queries()

    def full() -> bool:
        with pair.fleet.client() as client:
            for name in pair.workers:
                client.completions.create(
                    model=MODEL,
                    prompt="one two three " * 20,
                    max_tokens=8,
                    stream=False,
                    extra_body={"nvext": {"backend_instance_id": name}},
                )
        empty[:] = [query for query in empty if not prometheus.numbers(query)]
        return not empty

    try:
        pair.wait_until(full)
    except NotReady:
        seen = prometheus.ask("rate(sglang:e2e_request_latency_seconds_count[30s])")
        pytest.fail("\n".join((*empty, *map(str, seen))))
    finally:
        prometheus.process.stop()


async def test_ctrl_c_finishes_what_runs_and_leaves_no_process(shared_pair: Pair) -> None:
    """Sent to every process of the group, as a terminal does.

    SGLang's own metrics and canaries are looked at on the way.
    """
    pair = shared_pair
    pair.restore(workers=1)
    name, worker = next(iter(pair.workers.items()))
    pages, stopped = pair.pages[name], lost_workers(pair.fleet, "stopped")
    pair.wait_until(
        lambda: pages.metric("kvmesh_worker_canaries_total", dp_rank="0", result="ok") >= 3
    )
    async with pair.fleet.async_client() as client:
        stream = await client.completions.create(
            model=MODEL,
            prompt="one two three",
            max_tokens=TOKENS_MAX,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True, "nvext": {"backend_instance_id": name}},
        )
        chunks = [await anext(stream)]
        _look_at_metrics(pages, name)
        os.killpg(worker.popen.pid, signal.SIGINT)
        chunks += [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == TOKENS_MAX
    assert await asyncio.to_thread(worker.popen.wait, 60) == 0
    assert worker.children_left() == []
    assert "SIGTERM received" in worker.output()  # SGLang's own handler, after ours
    pair.wait_until(lambda: lost_workers(pair.fleet, "stopped") == stopped + 1)  # as planned


def _look_at_metrics(pages: SystemPages, worker_id: str) -> None:
    """SGLang's own, which its TokenizerManager counts in the worker's process and its scheduler in
    another, are on the page, by which worker they are; and what the worker knows of its engine.
    """
    with urllib.request.urlopen(f"http://127.0.0.1:{pages.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    sglangs = [sample for sample in samples if sample.name.startswith("sglang:")]
    assert {"sglang:num_running_reqs", "sglang:num_requests_total", "sglang:token_usage"} <= {
        sample.name for sample in sglangs
    }
    for sample in sglangs:
        assert sample.labels["worker_id"] == worker_id
        assert sample.labels["dynamo_component"] == "backend"
        assert sample.labels["model"] == MODEL
        assert "priority" not in sample.labels  # nobody asked for figures by it
    of_rank = {
        sample.name: sample.value for sample in samples if sample.labels.get("dp_rank") == "0"
    }
    assert of_rank["dynamo_component_total_blocks"] == 16_384 // 16
    assert 0 <= of_rank["dynamo_component_gpu_cache_usage_percent"] <= 1
    assert any(sample.name == "dynamo_component_model_load_time_seconds" for sample in samples)
