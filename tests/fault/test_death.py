"""Workers die, hang and vanish in mid-stream: every client gets the answer it would have got, or
one clear error.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator

import openai
import pytest

from bench.faults.proxy import TcpProxy
from starter.process import Process
from tests.fault.raw_http import metric
from tests.fault.streams import (
    ENGINE_DEATH_SEED,
    HANG_LOOP_SEED,
    SIM,
    Told,
    body,
    lost_workers,
    moved,
    on_each_worker,
    start_workers,
    tell,
    tell_all,
    tell_all_whole,
    told_in_peace,
)
from tests.kit.fleet import Fleet

STOP_PLACE = 0.7
"""Where in an answer its stop string is: behind the fault."""


@pytest.fixture
def workers(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[dict[str, Process]]:
    """A frontend, with the options of the test's parameter, and three workers."""
    fleet.frontend(*getattr(request, "param", ()))
    workers = start_workers(fleet, 3)
    yield workers
    for worker in workers.values():
        if worker.popen.poll() is None:
            worker.popen.send_signal(signal.SIGCONT)


def _kill(worker: Process) -> None:
    worker.popen.send_signal(signal.SIGKILL)


def _busiest(fleet: Fleet) -> str:
    runs = on_each_worker(fleet)
    return max(runs, key=runs.__getitem__)


def _ask_for_a_fault(fleet: Fleet, seed: int) -> None:
    """A request to w1 alone, which does not survive what it asks for."""
    with fleet.client() as client, pytest.raises(openai.APIStatusError) as raised:
        client.completions.create(
            **body(99, seed=seed), extra_body={"nvext": {"backend_instance_id": "w1"}}
        )
    assert raised.value.code == "worker_lost"


def _whole(answers: list[Told], undisturbed: list[Told]) -> None:
    assert answers == undisturbed
    assert all(text for told in answers for text in told.texts.values())


async def test_a_killed_workers_streams_go_on_elsewhere(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    undisturbed = await told_in_peace(fleet)
    _whole(await tell_all(fleet, lambda: _kill(workers["w1"])), undisturbed)
    assert (moved(fleet, cause="died"), lost_workers(fleet, "died")) == (pytest.approx(4, abs=3), 1)


async def test_two_deaths_in_a_row(fleet: Fleet, workers: dict[str, Process]) -> None:
    undisturbed = await told_in_peace(fleet)

    def fault() -> None:
        _kill(workers["w0"])
        fleet.wait_until(lambda: lost_workers(fleet, "died") == 1, "the first is missed")
        _kill(workers["w2"])

    _whole(await tell_all(fleet, fault), undisturbed)
    assert lost_workers(fleet, "died") == 2
    assert list(on_each_worker(fleet)) == ["w1"]


async def test_a_stopped_workers_streams_go_on_and_what_it_says_when_it_wakes_is_not_heard(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    undisturbed = await told_in_peace(fleet)

    def fault() -> None:
        workers["w1"].popen.send_signal(signal.SIGSTOP)
        fleet.wait_until(lambda: lost_workers(fleet, "silent") >= 1, "it is missed")
        workers["w1"].popen.send_signal(signal.SIGCONT)

    _whole(await tell_all(fleet, fault), undisturbed)
    assert moved(fleet, cause="silent") >= 1
    fleet.wait_for_workers(3)  # it is back, with nothing left of what it ran
    fleet.wait_until(lambda: not any(on_each_worker(fleet).values()), "all engines are free")
    _whole(await tell_all(fleet), undisturbed)


async def test_a_worker_whose_loop_hangs_is_given_up(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    # on a busy machine it takes a second until the fault is asked for
    undisturbed = await told_in_peace(fleet, max_tokens=900)
    told = await tell_all(fleet, lambda: _ask_for_a_fault(fleet, HANG_LOOP_SEED), max_tokens=900)
    _kill(workers["w1"])  # it hears no other signal
    _whole(told, undisturbed)
    # on a busy machine others are missed for a moment too
    assert lost_workers(fleet, "silent") >= 1
    assert moved(fleet, cause="silent") >= 1


async def test_a_worker_whose_engine_dies_says_so_and_is_not_waited_for(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    undisturbed = await told_in_peace(fleet)
    _whole(await tell_all(fleet, lambda: _ask_for_a_fault(fleet, ENGINE_DEATH_SEED)), undisturbed)
    assert lost_workers(fleet, "died") == 1
    assert workers["w1"].popen.wait(20) != 0


async def test_an_engine_that_freezes_in_mid_stream_keeps_nobody_waiting(fleet: Fleet) -> None:
    fleet.frontend()
    start_workers(fleet, 2)
    undisturbed = await told_in_peace(fleet)
    frozen = fleet.worker(*SIM, "--worker-id", "frozen", "--sim-fault", "hang-after-tokens=200")
    fleet.wait_for_workers(3)
    _whole(await tell_all(fleet), undisturbed)
    assert moved(fleet, cause="unhealthy") >= 1
    assert [worker["unhealthy"] != "" for worker in fleet.get("/health")[1]["workers"]].count(
        True
    ) == 1
    _kill(frozen)  # told to stop, it would wait for what its engine will never finish


@pytest.mark.parametrize("heals", [False, True])
async def test_a_connection_over_which_nothing_comes_any_more_is_given_up(
    fleet: Fleet, heals: bool
) -> None:
    fleet.frontend()
    with TcpProxy(fleet.mesh) as proxy:
        fleet.start(
            "workers", "--engine", "sim", "--frontend", proxy.address, *SIM, "--worker-id", "w9"
        )
        start_workers(fleet, 2, beside=1)
        undisturbed = await told_in_peace(fleet)

        def fault() -> None:
            proxy.stop_forwarding()
            fleet.wait_until(lambda: lost_workers(fleet, "silent") >= 1, "it is missed")
            if heals:
                proxy.forward_again()

        _whole(await tell_all(fleet, fault), undisturbed)
        assert moved(fleet, cause="silent") >= 1
        if heals:
            fleet.wait_for_workers(3)
            _whole(await tell_all(fleet), undisturbed)


@pytest.mark.parametrize("tell_them", [tell_all, tell_all_whole], ids=["streamed", "whole"])
async def test_choices_move_each_by_itself(
    fleet: Fleet, workers: dict[str, Process], tell_them: Callable[..., Awaitable[list[Told]]]
) -> None:
    undisturbed = await told_in_peace(fleet, tell_all_whole, count=4, n=2)
    _whole(
        await tell_them(fleet, lambda: _kill(workers[_busiest(fleet)]), count=4, n=2), undisturbed
    )
    assert moved(fleet) >= 1
    assert {told.tokens[1] for told in undisturbed} == {2 * 300}


async def test_whole_answers_go_on_too(fleet: Fleet, workers: dict[str, Process]) -> None:
    undisturbed = await told_in_peace(fleet, tell_all_whole)
    _whole(await tell_all_whole(fleet, lambda: _kill(workers[_busiest(fleet)])), undisturbed)
    assert moved(fleet) >= 1


async def test_a_stop_string_behind_the_move_ends_the_answer_where_it_should(
    fleet: Fleet, workers: dict[str, Process]
) -> None:
    text = (await tell_all(fleet, count=1))[0].texts[0]
    place = int(len(text) * STOP_PLACE)
    stop = text[place : place + 12]
    undisturbed = await tell_all(fleet, count=1, stop=[stop])
    assert undisturbed[0].texts[0] == text.partition(stop)[0]
    _whole(
        await tell_all(fleet, lambda: _kill(workers[_busiest(fleet)]), count=1, stop=[stop]),
        undisturbed,
    )
    assert undisturbed[0].ends == {0: "stop"}
    assert moved(fleet) == 1


@pytest.mark.parametrize("options", [{"echo": True}, {"extra_body": {"min_tokens": 250}}])
async def test_what_else_the_client_asked_for_holds_across_a_move(
    fleet: Fleet, workers: dict[str, Process], options: dict[str, object]
) -> None:
    undisturbed = await told_in_peace(fleet, **options)
    _whole(await tell_all(fleet, lambda: _kill(workers[_busiest(fleet)]), **options), undisturbed)
    assert (
        metric(
            fleet,
            "dynamo_frontend_model_migration_total",
            model="demo",
            migration_type="ongoing_request",
        )
        > 0
    )


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        (("--migration-limit", "1"), "had been moved once before"),
        (("--migration-limit", "0"), "switched off"),
    ],
    indirect=["workers"],
)
async def test_who_was_moved_often_enough_gets_one_clear_error(
    fleet: Fleet, workers: dict[str, Process], why: str
) -> None:
    async with fleet.async_client() as client:
        begun = asyncio.Event()
        telling = asyncio.create_task(tell(client, body(1, max_tokens=8_000), begun))
        await begun.wait()

        def fault() -> None:
            for _ in range(1 if "switched" in why else 2):
                fleet.wait_until(lambda: sum(on_each_worker(fleet).values()) == 1, "it runs")
                victim = _busiest(fleet)
                _kill(workers[victim])
                fleet.wait_until(
                    lambda victim=victim: victim not in on_each_worker(fleet), "it is missed"
                )

        await asyncio.to_thread(fault)
        with pytest.raises(openai.APIError) as raised:
            await telling
    assert raised.value.code == "worker_lost"
    assert why in raised.value.message


async def test_when_the_last_but_one_is_killed_streams_wait_for_one_that_was_only_slow(
    fleet: Fleet,
) -> None:
    fleet.frontend()
    workers = start_workers(fleet, 2)
    undisturbed = await told_in_peace(fleet)

    def fault() -> None:
        workers["w1"].popen.send_signal(signal.SIGSTOP)
        fleet.wait_until(lambda: lost_workers(fleet, "silent") >= 1, "the slow one is missed")
        _kill(workers["w0"])
        fleet.wait_until(lambda: lost_workers(fleet, "died") == 1, "the other one is missed")
        assert on_each_worker(fleet) == {}
        workers["w1"].popen.send_signal(signal.SIGCONT)

    _whole(await tell_all(fleet, fault), undisturbed)
    assert list(on_each_worker(fleet)) == ["w1"]


async def test_who_waits_for_a_slow_worker_hears_of_its_death(fleet: Fleet) -> None:
    fleet.frontend()
    worker = start_workers(fleet, 1)["w0"]

    async def told(begun: asyncio.Event) -> str | None:
        async with fleet.async_client() as client:
            with pytest.raises(openai.APIError) as raised:
                await tell(client, body(1, max_tokens=8_000), begun)
        return raised.value.code

    begun = asyncio.Event()
    telling = asyncio.create_task(told(begun))
    await begun.wait()
    worker.popen.send_signal(signal.SIGSTOP)
    await asyncio.to_thread(
        fleet.wait_until, lambda: lost_workers(fleet, "silent") >= 1, "it is missed"
    )
    assert not telling.done()
    _kill(worker)
    assert await telling == "worker_lost"


@pytest.mark.parametrize("stream", [False, True])
async def test_where_nobody_else_serves_there_is_one_clear_error(
    fleet: Fleet, stream: bool
) -> None:
    fleet.frontend()
    worker = start_workers(fleet, 1)["w0"]
    with pytest.raises(openai.APIError) as raised:  # noqa: PT012 - a group of one comes out of the task group
        try:
            await (tell_all if stream else tell_all_whole)(
                fleet, lambda: _kill(worker), count=1, max_tokens=8_000
            )
        except* openai.APIError as group:
            raise group.exceptions[0] from None
    assert raised.value.code == "worker_lost"
    if not stream:
        assert isinstance(raised.value, openai.APIStatusError)
        assert raised.value.status_code == 502
