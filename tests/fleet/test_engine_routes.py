"""An operator has his way with a worker's engine while clients are served: over real processes, on
the simulated engine.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from starter.ports import free_port
from tests.fault.streams import SIM, STREAMS, moved, tell_all, told_in_peace
from tests.fault.system_pages import SystemPages
from tests.fleet.test_adapters import post
from tests.fleet.test_kv_routing import workers_of
from tests.kit.fleet import Fleet
from workers.process.departure import EXIT_ENGINE_DIED
from workers.sim.operating import WEIGHTS_FILE


def weights(directory: Path, name: str, **fields: Any) -> str:
    """A checkpoint of the simulation."""
    (directory / name).mkdir(exist_ok=True)
    (directory / name / WEIGHTS_FILE).write_text(json.dumps(fields))
    return str(directory / name)


class Operated:
    """A frontend with workers "w0", "w1" …, and what is asked of their engines."""

    def __init__(self, directory: Path, count: int, *options: str) -> None:
        self.fleet = Fleet(directory)
        self.fleet.frontend()
        self.pages = [SystemPages(free_port()) for _ in range(count)]
        for number, pages in enumerate(self.pages):
            self.fleet.worker(
                *SIM,
                *("--worker-id", f"w{number}", "--system-port", str(pages.port)),
                *options,
            )
        self.fleet.wait_for_workers(count)

    def ask(self, route: str, worker: int = 0, **fields: Any) -> tuple[int, dict[str, Any]]:
        return post(self.pages[worker], f"/engine/{route}", fields)

    def told(self, worker: int = 0) -> dict[str, Any]:
        """What the frontend says of a worker."""
        return next(each for each in workers_of(self.fleet) if each["worker_id"] == f"w{worker}")

    def wait_for(self, state: str, worker: int = 0) -> None:
        self.fleet.wait_until(lambda: self.told(worker)["operated"] == state, f"it is {state!r}")

    def restored(self) -> None:
        """As at first, for the next test."""
        for number in range(len(self.pages)):
            self.ask("resume_memory_occupation", number)
            self.ask("continue_generation", number)
            self.ask("flush_cache", number)
        self.fleet.wait_for_workers(len(self.pages))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    operated = Operated(tmp_path_factory.mktemp("operated"), 2)
    yield operated
    operated.fleet.stop()


@pytest.fixture
def two(kept: Operated) -> Operated:
    kept.restored()
    return kept


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Operated]:
    operated = Operated(tmp_path, 1)
    yield operated
    operated.fleet.stop()


def text(fleet: Fleet, prompt: str = "tell me more", **options: Any) -> str:
    with fleet.client() as client:
        return (
            client.completions.create(model="demo", prompt=prompt, max_tokens=8, **options)
            .choices[0]
            .text
        )


def cached(fleet: Fleet, worker: str = "w0") -> tuple[int, int]:
    """Tokens of one prompt that the router counts as cached on a worker, and that its engine
    finds.
    """
    with fleet.client() as client:
        answer = client.completions.create(
            model="demo",
            prompt=list(range(100, 400)),
            max_tokens=2,
            extra_body={
                "nvext": {"backend_instance_id": worker, "extra_fields": ["cached_tokens"]}
            },
        )
    told: dict[str, Any] = answer.nvext  # type: ignore[attr-defined]
    return told["cached_tokens"]["predicted"], told["cached_tokens"]["actual"]


async def test_updates_under_load_lose_no_request_and_no_token(
    two: Operated, tmp_path: Path
) -> None:
    """One worker after the other gets the same weights again, so that texts are what they were."""
    path = weights(tmp_path, "same", seed=0, load_s=0.2)
    expected = await told_in_peace(two.fleet)
    before = moved(two.fleet)

    def update_all() -> None:
        for worker in (0, 1, 0):
            status, answer = two.ask(
                "update_weights_from_disk", worker, model_path=path, when_busy="move"
            )
            assert (status, answer["success"]) == (200, True), answer

    assert await tell_all(two.fleet, update_all) == expected
    assert moved(two.fleet) >= before + STREAMS


async def test_what_runs_is_finished_first_if_nothing_is_said(
    two: Operated, tmp_path: Path
) -> None:
    path = weights(tmp_path, "same", seed=0)
    expected, before = await told_in_peace(two.fleet), moved(two.fleet)
    answers: list[tuple[int, Any]] = []
    assert expected == await tell_all(
        two.fleet, lambda: answers.append(two.ask("update_weights_from_disk", model_path=path))
    )
    assert answers[0][0] == 200
    assert moved(two.fleet) == before


async def test_a_busy_worker_refuses_as_asked_and_takes_requests_again(two: Operated) -> None:
    answers: list[tuple[int, Any]] = []

    def ask_in_vain() -> None:
        answers.append(two.ask("flush_cache", when_busy="refuse"))
        answers.append(two.ask("flush_cache", wait_s=0.05))
        two.wait_for("")

    await tell_all(two.fleet, ask_in_vain)
    assert [(status, error["code"]) for status, error in answers] == [(409, "conflict")] * 2
    assert "requests run" in answers[0][1]["message"]
    assert "still run after 0.05 s" in answers[1][1]["message"]


async def test_who_comes_during_an_update_waits_and_is_answered_by_the_new_weights(
    one: Operated, tmp_path: Path
) -> None:
    old = text(one.fleet)
    path = weights(tmp_path, "new", seed=5, load_s=1.0)
    updating = asyncio.to_thread(
        one.ask, "update_weights_from_disk", model_path=path, weight_version="step-5"
    )
    update = asyncio.create_task(updating)
    await asyncio.to_thread(one.wait_for, "updating")
    assert one.pages[0].get("/health")[1]["status"] == "updating"
    new = await asyncio.to_thread(text, one.fleet)
    assert (await update)[0] == 200
    assert new != old
    assert new == text(one.fleet)
    assert one.told()["weight_version"] == "step-5"
    assert one.ask("get_model_info")[1] == {"model_path": path, "weight_version": "step-5"}


async def test_a_pause_in_place_holds_a_stream_which_then_goes_on(one: Operated) -> None:
    expected = await told_in_peace(one.fleet)

    def pause_and_go_on() -> None:
        assert one.ask("pause_generation", mode="in_place") == (200, {"status": "ok"})
        one.wait_for("paused")
        page = one.pages[0]
        assert (page.status("/ready"), page.status("/health"), page.status("/live")) == (
            503,
            200,
            200,
        )
        assert page.get("/ready")[1]["reasons"] == ["it is paused (in_place)"]
        status, health = one.fleet.get("/health")
        assert (status, health["reasons"][1]) == (
            503,
            "worker w0 takes no requests: it is paused (in_place)",
        )
        assert one.ask("flush_cache")[0] == 409  # their cache is held
        assert one.ask("pause_generation")[0] == 409
        assert page.get("/health")[1]["requests_running"] == STREAMS
        assert one.ask("continue_generation") == (200, {"status": "ok"})

    assert await tell_all(one.fleet, pause_and_go_on) == expected
    one.wait_for("")


def test_a_paused_worker_is_sent_no_canaries_and_is_not_unhealthy(tmp_path: Path) -> None:
    quick = ("--canary-wait-time", "0.2", "--health-check-request-timeout", "0.3")
    one = Operated(tmp_path, 1, *quick)
    pages = one.pages[0]

    def canaries() -> float:
        return sum(
            pages.metric("kvmesh_worker_canaries_total", dp_rank="0", result=result)
            for result in ("ok", "timeout", "failed")
        )

    def uptime_s() -> float:
        return float(pages.get("/health")[1]["uptime_s"])

    try:
        one.fleet.wait_until(lambda: canaries() >= 2, "an idle worker is asked")
        _ok(one.ask("pause_generation", mode="in_place"))
        one.wait_for("paused")
        begun_s, before = uptime_s(), canaries()
        one.fleet.wait_until(lambda: uptime_s() > begun_s + 1.5, "some seconds pass")
        assert canaries() == before
        assert (one.told()["unhealthy"], pages.get("/health")[1]["status"]) == ("", "paused")
        _ok(one.ask("continue_generation"))
        one.fleet.wait_until(lambda: canaries() > before, "it is asked again")
        one.fleet.wait_for_workers(1)
    finally:
        one.fleet.stop()


async def test_a_pause_moves_what_runs_and_a_worker_that_leaves_what_a_pause_holds(
    tmp_path: Path,
) -> None:
    two = Operated(tmp_path, 2)
    try:
        expected = await told_in_peace(two.fleet)
        before = moved(two.fleet)
        assert expected == await tell_all(two.fleet, lambda: _ok(two.ask("pause_generation")))
        assert moved(two.fleet) > before
        assert two.told(0)["operated"] == "paused"
        _ok(two.ask("continue_generation"))
        two.wait_for("")

        def hold_and_leave() -> None:
            _ok(two.ask("pause_generation", mode="in_place"))
            assert two.fleet.processes[1].stop() == 0

        assert expected == await tell_all(two.fleet, hold_and_leave)
    finally:
        two.fleet.stop()


async def test_a_pause_ends_what_runs_if_that_is_asked(one: Operated) -> None:
    told = await tell_all(one.fleet, lambda: _ok(one.ask("pause_generation", mode="abort")))
    assert {end for each in told for end in each.ends.values()} == {"abort"}


def test_a_failed_update_leaves_the_old_weights_or_a_worker_that_says_so(
    one: Operated, tmp_path: Path
) -> None:
    old = text(one.fleet)
    update = "update_weights_from_disk"
    status, error = one.ask(update, model_path=str(tmp_path / "missing"))
    assert (status, error["param"]) == (400, "model_path")
    broken = weights(tmp_path, "broken", seed=3, broken=True)
    status, error = one.ask(update, model_path=broken)
    assert (status, "are as before" in error["message"]) == (400, True)
    one.fleet.wait_for_workers(1)
    assert text(one.fleet) == old
    lost = weights(tmp_path, "lost", seed=3, broken=True, lost=True)
    status, error = one.ask(update, model_path=lost)
    assert (status, error["code"]) == (500, "engine_fault")
    one.fleet.wait_until(lambda: bool(one.told()["unhealthy"]), "it is not used")
    assert "may be those of two models" in one.told()["unhealthy"]
    assert one.pages[0].status("/health") == 503
    with pytest.raises(openai.InternalServerError):
        text(one.fleet, timeout=30)
    assert one.ask(update, model_path=weights(tmp_path, "good", seed=4))[0] == 200
    one.fleet.wait_for_workers(1)
    assert text(one.fleet) != old


async def test_an_update_that_comes_to_no_end_ends_its_worker_and_no_stream(tmp_path: Path) -> None:
    """An engine that waits for weights cannot be called back."""
    two = Operated(tmp_path, 2)
    path = weights(tmp_path, "slow", seed=0, load_s=120.0)
    try:
        expected = await told_in_peace(two.fleet)
        answers: list[tuple[int, Any]] = []

        def update() -> None:
            asked = {"model_path": path, "when_busy": "move", "limit_s": 0.4}
            answers.append(two.ask("update_weights_from_disk", **asked))

        assert await tell_all(two.fleet, update) == expected
        [(status, error)] = answers
        assert (status, error["code"]) == (500, "engine_fault")
        assert (
            "gave no answer after 0.4 s, and cannot be stopped: the worker ends"
            in (error["message"])
        )
        worker = two.fleet.processes[1]
        assert worker.popen.wait(30) == EXIT_ENGINE_DIED
        assert "the engine died: update_weights_from_disk gave no answer" in worker.output()
        assert [each["worker_id"] for each in workers_of(two.fleet)] == ["w1"]
    finally:
        two.fleet.stop()


def test_an_update_of_several_calls_that_nobody_goes_on_with_is_taken_back(
    one: Operated, tmp_path: Path
) -> None:
    old = text(one.fleet)
    _ok(one.ask("begin_weight_update", limit_s=0.3))
    one.fleet.wait_until(
        lambda: "came for 0.3 s: the weights before" in one.fleet.processes[1].output(),
        "it is said",
    )
    one.wait_for("")
    assert text(one.fleet) == old
    assert one.ask("end_weight_update")[0] == 409
    _ok(one.ask("begin_weight_update", limit_s=60))
    one.wait_for("updating")
    path = weights(tmp_path, "other", seed=9)
    assert one.ask("update_weights_from_disk", model_path=path)[0] == 409
    _ok(one.ask("end_weight_update"))
    one.wait_for("")


def test_after_a_flush_nothing_is_cached_and_nothing_predicted(two: Operated) -> None:
    cached(two.fleet)
    two.fleet.wait_until(lambda: cached(two.fleet)[0] >= 192, "the prompt is known to be cached")
    assert cached(two.fleet)[1] >= 192
    assert post(two.pages[0], "/clear_kv_blocks", {})[1] == {
        "success": True,
        "message": "The cache is empty.",
    }
    two.fleet.wait_for_workers(2)
    assert cached(two.fleet) == (0, 0)


def test_memory_is_released_and_resumed_part_by_part(two: Operated) -> None:
    release, resume = "release_memory_occupation", "resume_memory_occupation"
    _ok(two.ask(release, tags=["kv_cache"]))
    two.wait_for("released")
    refused = [
        (release, {"tags": ["kv_cache"]}, "kv_cache is released already."),
        (resume, {"tags": ["weights"]}, "weights is not released."),
        ("continue_generation", {}, "kv_cache of the engine is released: resume it first."),
    ]
    for route, fields, message in refused:
        status, error = two.ask(route, **fields)
        assert (status, error["message"]) == (409, message)
    status, error = two.ask(release, tags=["everything"])
    assert (status, error["param"]) == (400, "tags")
    status, error = two.ask("load_lora_adapter", lora_name="poet", lora_path="/nowhere")
    assert (status, error["code"]) == (409, "conflict")
    _ok(two.ask(resume))
    two.wait_for("")
    assert two.ask(resume)[0] == 409


def test_bodies_names_and_aliases(two: Operated, tmp_path: Path) -> None:
    status, error = two.ask("update_weights_from_disk", modelpath="x")
    assert status == 400
    assert (
        "model_path, weight_version, abort_all_requests, flush_cache, when_busy, wait_s, limit_s"
        in (error["message"])
    )
    assert two.ask("flush_cache", when_busy="never")[0] == 400
    assert two.ask("flush_cache", wait_s=-1)[0] == 400
    status, answer = two.ask("control/update_weight_version", new_version="v7")
    assert (status, answer["new_version"]) == (200, "v7")
    two.fleet.wait_until(lambda: two.told()["weight_version"] == "v7", "the version is told")
    status, answer = two.ask("start_profile", output_dir=str(tmp_path))
    assert (status, answer) == (200, {"status": "ok", "message": "Profiling started"})
    assert list(tmp_path.glob("*.trace.json"))
    assert two.ask("update_weights_from_tensor")[0] == 404  # the simulation has no tensors


def _ok(answer: tuple[int, Any]) -> None:
    assert answer[0] == 200, answer
