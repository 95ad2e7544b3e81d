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
from collections.abc import Iterator

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from starter.waiting import NotReady
from tests.fault.books import BOOK, BOOKS_ASKED, told_book
from tests.fault.golden_answers import MODEL, TOKENS_MAX, endless_story, golden_answers
from tests.fault.pair import Pair
from tests.fault.raw_http import asked, metric
from tests.fault.streams import lost_workers, moved
from tests.fault.system_pages import SystemPages
from tests.kit.board import ENGINES_ROW, all_asked
from tests.kit.fleet import Fleet
from tests.kit.prometheus import needs_prometheus, start_prometheus
from tests.kit.reference_boards import engine_queries
from workers.process.departure import EXIT_ENGINE_DIED

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


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
    pair.wait_until(lambda: not pair.is_busy())


async def test_a_stopped_worker_is_missed_and_comes_back(pair: Pair) -> None:
    before, lost = moved(pair.fleet, cause="silent"), lost_workers(pair.fleet, "silent")
    async with endless_story(pair) as story:
        victim = pair.workers[story.worker].popen

        def fault() -> None:
            victim.send_signal(signal.SIGSTOP)
            pair.wait_until(lambda: lost_workers(pair.fleet, "silent") > lost)

        await golden_answers(pair.fleet, fault)
        await asyncio.to_thread(pair.wait_until, lambda: moved(pair.fleet, cause="silent") > before)
    victim.send_signal(signal.SIGCONT)
    pair.wait_until(lambda: pair.ready() == 2)
    await golden_answers(pair.fleet)


async def test_a_frozen_scheduler_keeps_nobody_waiting_and_comes_back(pair: Pair) -> None:
    before = moved(pair.fleet, cause="unhealthy")
    async with endless_story(pair) as story:
        scheduler = pair.scheduler(story.worker)
        await golden_answers(pair.fleet, scheduler.suspend)
        await asyncio.to_thread(
            pair.wait_until, lambda: moved(pair.fleet, cause="unhealthy") > before
        )
    scheduler.resume()
    pair.wait_until(lambda: pair.ready() == 2)
    pair.wait_until(lambda: not pair.is_busy())


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
                await asyncio.to_thread(pair.wait_until, pair.is_busy)
                victims.append(pair.busy())
                schedulers.append(pair.scheduler(victims[0]))
        await golden_answers(pair.fleet, fault, begun.values())
    assert moved(pair.fleet) >= before + len(BOOKS_ASKED)
    assert [json.loads(book.result()) for book in books] == [BOOK] * len(BOOKS_ASKED)
    worker = pair.workers[victims[0]]
    worker.popen.wait()
    pair.wait_until(lambda: worker.children_left() == [])


async def test_a_killed_scheduler_is_its_workers_end_and_its_streams_go_on(pair: Pair) -> None:
    before, lost = moved(pair.fleet), lost_workers(pair.fleet, "died")
    async with endless_story(pair) as story:
        worker, scheduler = pair.workers[story.worker], pair.scheduler(story.worker)

        def fault() -> None:
            scheduler.kill()
            pair.wait_until(lambda: lost_workers(pair.fleet, "died") == lost + 1)

        await golden_answers(pair.fleet, fault)
    assert moved(pair.fleet) > before
    assert worker.popen.wait(30) == EXIT_ENGINE_DIED
    assert worker.children_left() == []


async def test_a_worker_that_is_told_to_stop_finishes_its_long_streams(pair: Pair) -> None:
    before = moved(pair.fleet, cause="stopped")
    async with endless_story(pair) as story:
        worker = pair.workers[story.worker]
        await golden_answers(pair.fleet, lambda: worker.popen.send_signal(signal.SIGTERM))
    assert moved(pair.fleet, cause="stopped") == before
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
