"""What an operator asks of real SGLang with two data-parallel ranks, on a CPU."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from starter.ports import free_port
from tests.fault.system_pages import SystemPages
from tests.fleet.real_fleets import RealFleets
from tests.fleet.test_adapters import post
from tests.fleet.test_kv_real_sglang import NO_GRAMMARS, PAGE
from tests.fleet.test_kv_routing import workers_of
from tests.kit.fleet import Fleet
from tests.kit.forks import run_with_sglang

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

TINY = Path(__file__).parents[1] / "sglang" / "tiny_qwen3.py"
TOKENS = 12
PROMPT = [5, 6, 7, 8] * 12
BUILT = {"first": (7,), "second": (8,), "smaller": (9, 2, 96), "shorter": (10, 1)}
"""Checkpoints: seed, layers, width of their middle."""


class Operated:
    """A worker with the checkpoint "first" on two ranks, its frontend, and what is asked of it."""

    def __init__(self, fleet: Fleet, pages: SystemPages, checkpoints: Path) -> None:
        self.fleet = fleet
        self.pages = pages
        self.checkpoints = checkpoints

    def ask(self, route: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        return post(self.pages, f"/engine/{route}", fields)

    def done(self, route: str, **fields: Any) -> dict[str, Any]:
        status, answer = self.ask(route, **fields)
        assert status == 200, answer
        return answer

    def update(self, name: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        return self.ask(
            "update_weights_from_disk", model_path=str(self.checkpoints / name), **fields
        )

    def greedy(self, rank: int, prompt: list[int] = PROMPT) -> tuple[list[int], int, int]:
        """What a rank says, and how much of the prompt the router thinks and the rank finds
        cached.
        """
        with self.fleet.client() as client:
            answer = client.completions.create(
                model="tiny",
                prompt=prompt,
                max_tokens=TOKENS,
                temperature=0,
                extra_body={
                    "ignore_eos": True,
                    "return_token_ids": True,
                    "nvext": {
                        "backend_instance_id": "w0",
                        "dp_rank": rank,
                        "extra_fields": ["cached_tokens"],
                    },
                },
            )
        told: dict[str, int] = answer.nvext["cached_tokens"]  # type: ignore[attr-defined]
        ids: list[int] = answer.choices[0].token_ids  # type: ignore[attr-defined]
        return ids, told["predicted"], told["actual"]

    def state(self) -> str:
        return str(workers_of(self.fleet)[0]["operated"])

    def ready(self) -> None:
        self.fleet.wait_for_workers(1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints")
    for name, shape in BUILT.items():
        done = run_with_sglang(str(TINY), "build", str(directory / name), *map(str, shape))
        assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def expected(checkpoints: Path) -> dict[str, list[int]]:
    """What transformers says with the weights of a checkpoint."""
    said: dict[str, list[int]] = {}
    for name in ("first", "second"):
        program = (str(TINY), "greedy", str(checkpoints / name), str(TOKENS))
        done = run_with_sglang(*program, given=json.dumps([PROMPT]))
        assert done.returncode == 0, done.stderr
        [said[name]] = json.loads(done.stdout)
    return said


@pytest.fixture(scope="module")
def pages() -> SystemPages:
    return SystemPages(free_port())


@pytest.fixture
def operated(real_fleets: RealFleets, pages: SystemPages, checkpoints: Path) -> Operated:
    fleet = real_fleets.of(
        (
            *("--model-path", str(checkpoints / "first"), "--served-model-name", "tiny"),
            *("--dtype", "float32", "--dp-size", "2", "--max-total-tokens", "2048"),
            *("--kv-block-size", str(PAGE), "--worker-id", "w0"),
            *("--system-port", str(pages.port), *NO_GRAMMARS),
        )
    )
    operated = Operated(fleet, pages, checkpoints)
    if operated.state():
        operated.ask("resume_memory_occupation")
        operated.ask("continue_generation")
    assert operated.update("first")[0] == 200
    operated.ready()
    return operated


def test_new_weights_answer_on_every_rank_and_nothing_of_the_old_ones_is_left(
    operated: Operated, expected: dict[str, list[int]]
) -> None:
    for rank in (0, 1):
        assert operated.greedy(rank)[0] == expected["first"]
    status, answer = operated.update("second", weight_version="step-2")
    assert (status, answer["success"], answer["num_paused_requests"]) == (200, True, 0)
    operated.ready()
    for rank in (0, 1):
        assert operated.greedy(rank) == (expected["second"], 0, 0)
    info = operated.done("get_model_info")
    assert info["weight_version"] == "step-2"
    assert info["model_path"].endswith("/second")
    assert info["served_model_name"] == "tiny"
    assert workers_of(operated.fleet)[0]["weight_version"] == "step-2"


def test_right_after_a_request_too(operated: Operated, expected: dict[str, list[int]]) -> None:
    """SGLang by itself says then that it failed, and has changed the weights."""
    for name in ("second", "first") * 3:
        operated.greedy(0)
        operated.greedy(1)
        assert operated.update(name)[0] == 200
        operated.ready()
        for rank in (0, 1):
            assert operated.greedy(rank) == (expected[name], 0, 0)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing", "No such checkpoint"),
        ("smaller", "the shape of model.layers.0.mlp.down_proj.weight"),
        ("shorter", "it lacks model.layers.1."),
    ],
)
def test_another_models_checkpoint_is_refused_and_the_weights_are_as_before(
    operated: Operated, expected: dict[str, list[int]], name: str, reason: str
) -> None:
    status, error = operated.update(name)
    assert (status, error["param"]) == (400, "model_path")
    assert reason in error["message"]
    operated.ready()
    for rank in (0, 1):
        assert operated.greedy(rank)[0] == expected["first"]


def test_an_update_that_fails_in_the_schedulers_is_taken_back_on_every_rank(
    operated: Operated, expected: dict[str, list[int]]
) -> None:
    """A file whose head is whole and whose tensors are cut off."""
    cut = operated.checkpoints / "cut"
    cut.mkdir()
    for file in (operated.checkpoints / "second").iterdir():
        (cut / file.name).write_bytes(file.read_bytes())
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4_000])
    status, error = operated.update("cut")
    assert (status, error["code"]) == (400, "invalid_value")
    assert "are as before" in error["message"]
    operated.ready()
    for rank in (0, 1):
        assert operated.greedy(rank) == (expected["first"], 0, 0)


def test_a_flush_empties_every_rank_and_what_the_frontend_knows(operated: Operated) -> None:
    for rank in (0, 1):
        operated.greedy(rank)
        operated.fleet.wait_until(
            lambda rank=rank: operated.greedy(rank)[1] >= 32, "it is known to be cached"
        )
    assert operated.done("flush_cache")["success"]
    operated.ready()
    for rank in (0, 1):
        assert operated.greedy(rank)[1:] == (0, 0)


def test_a_profile_of_every_rank_lands_where_it_was_asked(
    operated: Operated, tmp_path: Path
) -> None:
    folder = tmp_path / "traces"
    assert operated.done("start_profile", output_dir=str(folder), profile_id="mine") == {
        "status": "ok",
        "message": "Profiling started",
    }
    assert operated.ask("start_profile", output_dir=str(tmp_path))[0] == 409
    for rank in (0, 1):
        operated.greedy(rank)
    operated.done("stop_profile")
    traces = sorted(path.name for path in folder.glob("*.trace.json.gz"))
    assert traces == ["mine-TP-0-DP-0.trace.json.gz", "mine-TP-0-DP-1.trace.json.gz"]
    with gzip.open(folder / traces[0]) as trace:
        assert json.load(trace)["traceEvents"]
    assert operated.ask("stop_profile")[0] == 409
    for fields in (
        {"output_dir": "/proc/nowhere"},
        {"output_dir": "here"},
        {"profile_id": "../x"},
        {"activities": ["RPD"]},
        {"profile_by_stage": True},
    ):
        assert operated.ask("start_profile", **fields)[0] in (400, 409), fields
    operated.greedy(0)  # which the engine has outlived


@pytest.mark.parametrize("mode", ["in_place", "retract"])
async def test_a_pause_holds_a_stream_that_then_goes_on(operated: Operated, mode: str) -> None:
    whole = operated.greedy(1, PROMPT[:20])[0]
    ids: list[int] = []
    async with operated.fleet.async_client() as client:
        stream = await client.completions.create(
            model="tiny",
            prompt=PROMPT[:20],
            max_tokens=400,
            temperature=0,
            stream=True,
            extra_body={"ignore_eos": True, "return_token_ids": True, "nvext": {"dp_rank": 1}},
        )
        paused = False
        async for chunk in stream:
            ids += chunk.choices[0].token_ids if chunk.choices else []  # type: ignore[attr-defined]
            if len(ids) > 4 and not paused:
                paused = True
                await asyncio.to_thread(operated.done, "pause_generation", mode=mode)
                assert operated.pages.get("/health")[1]["requests_running"] == 1
                # what a retraction has given back may be emptied
                flushed = await asyncio.to_thread(operated.ask, "flush_cache")
                assert flushed[0] == (409 if mode == "in_place" else 200)
                told = await asyncio.to_thread(
                    operated.done, "continue_generation", torch_empty_cache=mode == "retract"
                )
                # there is no such cache on a CPU
                ignored = {"ignored": ["torch_empty_cache"]} if mode == "retract" else {}
                assert told == {"status": "ok", **ignored}
    assert len(ids) == 400
    assert ids[:TOKENS] == whole


async def test_a_busy_worker_is_waited_for_or_refuses(operated: Operated) -> None:
    async with operated.fleet.async_client() as client:
        answer = asyncio.create_task(
            client.completions.create(
                model="tiny",
                prompt=PROMPT,
                max_tokens=600,
                temperature=0,
                extra_body={"ignore_eos": True, "nvext": {"dp_rank": 0}},
            )
        )
        await asyncio.to_thread(
            operated.fleet.wait_until,
            lambda: operated.pages.get("/health")[1]["requests_running"] == 1,
            "it runs",
        )
        release = "release_memory_occupation"
        status, error = await asyncio.to_thread(operated.ask, release, when_busy="refuse")
        assert (status, error["message"]) == (409, "1 requests run.")
        await asyncio.to_thread(operated.done, release)
        assert (await answer).usage.completion_tokens == 600  # type: ignore[union-attr]
    operated.fleet.wait_until(lambda: operated.state() == "released", "it is told")
    operated.done("resume_memory_occupation")
    operated.ready()


def test_memory_comes_back_with_right_answers(
    operated: Operated, expected: dict[str, list[int]]
) -> None:
    operated.greedy(0)
    operated.done("release_memory_occupation", tags=["kv_cache"])
    assert operated.ask("resume_memory_occupation", tags=["weights"])[0] == 409
    operated.done("resume_memory_occupation", tags=["kv_cache"])
    operated.ready()
    for rank in (0, 1):
        assert operated.greedy(rank) == (expected["first"], 0, 0)


def test_what_replicas_cannot_is_refused_by_sglang(operated: Operated) -> None:
    status, error = operated.ask(
        "update_weights_from_distributor", names=["x"], dtypes=["float32"], shapes=[[1]]
    )
    assert (status, "data-parallel replicas" in error["message"]) == (400, True)
    operated.ready()


def test_weights_of_a_checkpoint_engine_need_a_gpu_which_is_said_before_anything_is_done(
    operated: Operated,
) -> None:
    operated.greedy(0)
    status, error = operated.ask("update_weights_from_ipc", zmq_handles={"GPU-1": "ipc://x"})
    assert (status, error["code"]) == (400, "invalid_value")
    assert "needs a GPU" in error["message"]
    assert operated.greedy(0)[2] == 32  # its cache is as it was


def test_the_server_tells_of_itself_without_its_keys(operated: Operated) -> None:
    info = operated.done("get_server_info")
    assert info["dp_size"] == 2
    assert len(info["internal_states"]) == 2
    status, error = operated.ask("update_weights_from_disk", path="x")
    assert status == 400
    assert "model_path, load_format, abort_all_requests" in error["message"]
