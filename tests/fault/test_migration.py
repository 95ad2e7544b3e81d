"""A worker is lost in the midst of answers: clients see one unbroken answer, or one error where nobody can go on."""

import asyncio
import signal
from dataclasses import dataclass
from typing import Any, Final

import openai
import pytest

from tests.fault.raw_http import metric, requests_running
from tests.fleet.processes import Fleet, Process

PACED: Final = ("--served-model-name", "demo", "--sim-speedup", "1", "--context-length", "8192")
QUICK: Final = ("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "8192")


@dataclass
class Answer:
    """What a client was told of one choice."""

    text: str
    finish: str | None
    usage: tuple[int, int]


def start(fleet: Fleet, workers: int, *arguments: str, frontend: tuple[str, ...] = ()) -> dict[str, Process]:
    """A frontend and paced workers by name."""
    fleet.frontend(*frontend)
    started = {f"w{number}": fleet.worker(*PACED, "--worker-id", f"w{number}", *arguments) for number in range(workers)}
    fleet.wait_for_workers(workers)
    return started


async def ask(client: openai.AsyncOpenAI, prompt: str, begun: asyncio.Semaphore | None = None, **options: Any) -> Answer:
    """One streamed completion; `begun` is released at its first token."""
    settings = {"max_tokens": 300, "stream_options": {"include_usage": True}, **options}
    text, finish, usage = "", None, (0, 0)
    async for chunk in await client.completions.create(model="demo", prompt=prompt, stream=True, **settings):
        if begun is not None:
            begun.release()
            begun = None
        if chunk.usage is not None:
            usage = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
        for choice in chunk.choices:
            text, finish = text + choice.text, choice.finish_reason or finish
    return Answer(text, finish, usage)


async def disturbed(fleet: Fleet, count: int, disturb: Any, **options: Any) -> list[Answer]:
    """Answers of as many streams, all of which had begun when `disturb` was called."""
    begun = asyncio.Semaphore(0)
    async with fleet.async_client() as client, asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask(client, f"prompt {number}", begun, **options)) for number in range(count)]
        for _ in range(count):
            await begun.acquire()
        disturb()
    return [task.result() for task in asked]


async def undisturbed(fleet: Fleet, count: int, **options: Any) -> list[Answer]:
    """The same answers when nothing happens."""
    async with fleet.async_client() as client:
        return await asyncio.gather(*(ask(client, f"prompt {number}", **options) for number in range(count)))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_dies_or_stops_breaks_no_stream(fleet: Fleet, number: signal.Signals) -> None:
    workers = start(fleet, 3)
    calm = await undisturbed(fleet, 30)
    assert await disturbed(fleet, 30, lambda: workers["w0"].popen.send_signal(number)) == calm
    cause = "died" if number == signal.SIGKILL else "silent"
    assert metric(fleet, "kvmesh_frontend_workers_lost_total", cause=cause) == 1
    assert metric(fleet, "kvmesh_frontend_migrations_total", cause=cause, outcome="moved") > 0
    assert metric(fleet, "dynamo_frontend_model_migration_total", model="demo", migration_type="ongoing_request") > 0
    if number == signal.SIGSTOP:  # it wakes with tokens that nobody wants, and comes back
        workers["w0"].popen.send_signal(signal.SIGCONT)
        fleet.wait_for_workers(3)
        fleet.wait_until(lambda: requests_running(fleet) == 0, "it has stopped what it ran")
        assert await undisturbed(fleet, 30) == calm


async def test_one_answer_survives_several_deaths(fleet: Fleet) -> None:
    workers = start(fleet, 3)
    options = {"max_tokens": 1500}
    [calm] = await undisturbed(fleet, 1, **options)

    def running_on() -> str:
        return next((worker["worker_id"] for worker in fleet.get("/health")[1]["workers"] if sum(worker["requests"])), "")

    def kill_two() -> None:
        for _ in range(2):
            fleet.wait_until(lambda: running_on() != "", "it runs somewhere")
            victim = running_on()
            workers[victim].popen.kill()
            fleet.wait_until(lambda victim=victim: running_on() not in ("", victim), "it runs elsewhere")

    [answer] = await disturbed(fleet, 1, kill_two, **options)
    assert answer == calm
    assert metric(fleet, "kvmesh_frontend_migrations_total", outcome="moved") == 2


@pytest.mark.parametrize("options", [{"stop": ["zzz", "th"], "max_tokens": 400}, {"echo": True}, {"extra_body": {"min_tokens": 250}}])
async def test_what_the_client_asked_for_holds_across_a_move(fleet: Fleet, options: dict[str, Any]) -> None:
    workers = start(fleet, 2)
    calm = await undisturbed(fleet, 8, **options)
    assert await disturbed(fleet, 8, workers["w0"].popen.kill, **options) == calm


@pytest.mark.parametrize("n", [1, 3])
def test_an_answer_in_one_piece_is_moved_too(fleet: Fleet, n: int) -> None:
    workers = start(fleet, 2)
    with fleet.client() as client:
        body: dict[str, Any] = {"model": "demo", "prompt": "hi", "max_tokens": 200, "n": n, "seed": 3}
        calm = client.completions.create(**body)

        async def killed() -> Any:
            async with fleet.async_client() as other:
                asked = asyncio.create_task(other.completions.create(**body))
                await asyncio.to_thread(fleet.wait_until, lambda: requests_running(fleet) == n, "it runs")
                await asyncio.sleep(0.3)  # some of it is generated; when exactly does not matter
                for worker in fleet.get("/health")[1]["workers"]:
                    if sum(worker["requests"]):
                        workers[worker["worker_id"]].popen.kill()
                        break
                return await asked

        answer = asyncio.run(killed())
    assert [choice.text for choice in answer.choices] == [choice.text for choice in calm.choices]
    assert answer.usage.completion_tokens == calm.usage.completion_tokens == 200 * n


def test_with_moving_switched_off_the_client_is_told(fleet: Fleet) -> None:
    workers = start(fleet, 2, frontend=("--migration-limit", "0"))
    with fleet.client() as client:
        stream = client.completions.create(model="demo", prompt="hi", max_tokens=3000, stream=True)
        next(iter(stream))
        for worker in workers.values():
            worker.popen.kill()
        with pytest.raises(openai.APIError) as raised:
            list(stream)
    assert raised.value.code == "worker_lost"
    assert "switched off" in raised.value.message


def test_what_still_runs_when_the_time_for_draining_is_over_goes_on_elsewhere(fleet: Fleet) -> None:
    workers = start(fleet, 2, "--graceful-shutdown-timeout-secs", "0")

    async def drained() -> tuple[list[Answer], list[Answer]]:
        calm = await undisturbed(fleet, 10)
        return calm, await disturbed(fleet, 10, lambda: workers["w0"].popen.send_signal(signal.SIGTERM))

    calm, answers = asyncio.run(drained())
    assert answers == calm
    assert workers["w0"].popen.wait(20) == 0
    assert metric(fleet, "kvmesh_frontend_migrations_total", cause="stopped", outcome="moved") > 0
    assert metric(fleet, "kvmesh_frontend_worker_drains_total") == 1


async def test_a_request_that_kills_workers_ends_two_and_its_twin_none(fleet: Fleet) -> None:
    workers = start(fleet, 4, "--sim-request-faults")
    calm = await undisturbed(fleet, 20)
    async with fleet.async_client() as client:

        async def poison(seed: int) -> tuple[int, str]:
            with pytest.raises(openai.InternalServerError) as raised:
                await client.completions.create(model="demo", prompt="poison", max_tokens=9, extra_body={"seed": seed})
            return raised.value.status_code, str(raised.value.code)

        task: list[asyncio.Task[tuple[int, str]]] = []
        answers = await disturbed(fleet, 20, lambda: task.append(asyncio.create_task(poison(770_002))))
        assert await task[0] == (500, "poison_request")
        assert answers == calm
        assert await poison(770_005) == (500, "poison_request")
    assert sum(worker.popen.poll() is None for worker in workers.values()) == 2
    assert await undisturbed(fleet, 20) == calm
    assert metric(fleet, "kvmesh_frontend_poison_refusals_total") == 1


def test_a_frontend_that_is_killed_leaves_nothing_running(fleet: Fleet) -> None:
    frontend = fleet.frontend()
    fleet.worker(*PACED)
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        for number in range(5):
            next(iter(client.completions.create(model="demo", prompt=f"hi {number}", max_tokens=8000, stream=True)))
        frontend.popen.kill()
        frontend.popen.wait()
    fleet.frontend()
    fleet.wait_for_workers(1)
    fleet.wait_until(lambda: requests_running(fleet) == 0, "the engine is idle", wait_s_max=30)  # 8000 tokens would take 48 s


def test_a_whole_fleet_is_restarted_one_by_one_without_a_failed_request(fleet: Fleet) -> None:
    workers = start(fleet, 3)
    done = False

    async def load() -> list[int]:
        async with fleet.async_client() as client:

            async def user(number: int) -> int:
                count = 0
                while not done:
                    answer = await ask(client, f"user {number} says {count}", max_tokens=60)
                    assert answer.usage[1] == 60
                    count += 1
                return count

            users = [asyncio.create_task(user(number)) for number in range(12)]
            await asyncio.to_thread(restart_all)
            return await asyncio.gather(*users)

    def restart_all() -> None:
        nonlocal done
        try:
            for name, worker in workers.items():
                assert worker.stop() == 0
                fleet.worker(*PACED, "--worker-id", name)
                fleet.wait_for_workers(3)
        finally:
            done = True

    counts = asyncio.run(load())
    assert min(counts) >= 1
    assert metric(fleet, "dynamo_frontend_requests_total", status="error") == 0
