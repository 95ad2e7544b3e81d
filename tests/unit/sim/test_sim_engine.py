"""The engine on a real event loop: as fast as Python goes, or paced on a loop whose clock is
ours.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.generation import Finished, Generate
from protocol.process.start_error import StartError
from protocol.replies import Failed
from workers.engine import CANARY_PREFIX, Engine
from workers.sim.engine import SimEngine
from workers.sim.faults import Faults
from workers.sim.runner import LAG_S_MAX, RankRunner

Requests = Callable[..., Any]


def name(number: int) -> str:
    return f"{number:032x}"


async def test_the_facts_say_what_was_asked_for(model_dir: Path) -> None:
    argv = ["--dp-size", "2", "--max-total-tokens", "1000", "--max-running-requests", "7"]
    engine: Engine = SimEngine.from_argv(["--model-path", str(model_dir), *argv])
    facts = await engine.start(lambda deltas: None, pytest.fail)
    assert (
        facts.card.name,
        facts.card.context_length,
        facts.card.vocab_size,
        facts.card.eos_token_ids,
    ) == ("tiny", 4096, 201, [200])
    assert (facts.capacity.dp_size, facts.capacity.page_size_tokens, facts.capacity.kv_tokens) == (
        2,
        16,
        992,
    )
    assert (facts.capacity.requests_running_max, facts.version) == (7, "sim")
    assert {path.name for path in facts.card_files.values()} == {"tokenizer.json", "config.json"}
    assert [(load.dp_rank, load.requests_running) for load in engine.loads()] == [(0, 0), (1, 0)]
    await engine.stop()


async def test_a_name_and_any_context_length_can_be_given(model_dir: Path) -> None:
    engine = SimEngine.from_argv(
        [
            "--model-path",
            str(model_dir),
            "--served-model-name",
            "other",
            "--context-length",
            "9000000",
        ]
    )
    facts = await engine.start(lambda deltas: None, pytest.fail)
    assert (facts.card.name, facts.card.context_length) == ("other", 9_000_000)
    await engine.stop()


@pytest.mark.parametrize(
    "argv", [["--model-path", "/nowhere/at-all"], ["--sim-fault", "start-error"]]
)
async def test_an_engine_that_cannot_start_says_why(model_dir: Path, argv: list[str]) -> None:
    engine = SimEngine.from_argv(["--model-path", str(model_dir), *argv])
    with pytest.raises(StartError):
        await engine.start(lambda deltas: None, pytest.fail)


async def test_many_requests_end_once_each_with_all_their_tokens(
    started: Any, answers: Any, request_for: Requests
) -> None:
    engine = await started(
        "--dp-size", "3", "--max-running-requests", "10", "--chunked-prefill-size", "64"
    )
    for number in range(100):
        engine.submit(
            request_for(
                number, [number % 50] * (1 + number), 1 + number % 9, stream=number % 2 == 0
            )
        )
    await answers.end_of(*map(name, range(100)))
    for number in range(100):
        assert len(answers.tokens[name(number)]) == 1 + number % 9
        assert answers.ends[name(number)].prompt_tokens == 1 + number
    assert all(
        load.requests_running == load.requests_waiting == load.kv_tokens_used == 0
        for load in engine.loads()
    )


async def test_the_ranks_of_a_request_are_obeyed_and_share_no_cache(
    started: Any, answers: Any, request_for: Requests
) -> None:
    engine = await started("--dp-size", "2")
    for number, rank in enumerate([1, 0, 1]):
        engine.submit(request_for(number, range(100), 2, routed_dp_rank=rank))
        assert engine.loads()[rank].requests_waiting == 1
        await answers.end_of(name(number))
    assert [answers.ends[name(number)].cached_tokens for number in range(3)] == [0, 0, 96]
    for number, rank in [(7, 2), (8, -1)]:
        engine.submit(request_for(number, routed_dp_rank=rank))
        await answers.end_of(name(number))
        assert answers.ends[name(number)].param == "routed_dp_rank"


async def test_requests_without_a_rank_go_round(started: Any, request_for: Requests) -> None:
    engine = await started("--dp-size", "3")
    for number in range(6):
        engine.submit(request_for(number))
    assert [load.requests_waiting for load in engine.loads()] == [2, 2, 2]


async def test_refusals_are_deltas_and_never_delivered_from_within_submit(
    started: Any, answers: Any, request_for: Requests
) -> None:
    engine = await started()
    engine.submit(request_for(1, []))
    engine.submit(request_for(2, max_new_tokens=5_000))
    assert not answers.ends
    await answers.end_of(name(1), name(2))
    assert answers.batches == 1
    assert [answers.ends[name(number)].code for number in (1, 2)] == [
        "invalid_value",
        "context_length_exceeded",
    ]
    assert "4096" in answers.ends[name(2)].message


async def test_an_expired_request_is_not_run(
    started: Any, answers: Any, request_for: Requests
) -> None:
    engine = await started(unix_ms=lambda: 5_000)
    engine.submit(request_for(1, deadline_unix_ms=5_000))
    engine.submit(request_for(2, deadline_unix_ms=5_001))
    await answers.end_of(name(1), name(2))
    assert answers.ends[name(1)].code == "deadline_exceeded"
    assert answers.ends[name(2)].reason == "length"


async def test_aborting_ends_a_request_at_any_stage_and_ignores_others(
    started: Any, answers: Any, request_for: Requests
) -> None:
    engine = await started("--max-running-requests", "1")
    engine.submit(request_for(1, max_new_tokens=4_000))
    engine.submit(request_for(2))
    await answers.until(lambda: name(1) in answers.tokens)
    for number in (1, 2, 3, 2):
        engine.abort(name(number))
    await answers.end_of(name(1), name(2))
    assert [answers.ends[name(number)].reason for number in (1, 2)] == ["abort", "abort"]
    assert 0 < len(answers.tokens[name(1)]) < 4_000
    engine.abort(name(1))


async def test_stopping_fails_what_runs_so_that_it_can_run_elsewhere(
    started: Any, answers: Any, request_for: Requests
) -> None:
    engine = await started("--max-running-requests", "1", "--sim-request-faults")
    for number, seed in [(1, None), (2, None), (3, 770_003)]:
        engine.submit(request_for(number, max_new_tokens=4_000, seed=seed))
    await answers.until(lambda: name(1) in answers.tokens)
    await engine.stop()
    assert {answers.ends[name(number)].code for number in (1, 2, 3)} == {"worker_lost"}


async def test_a_hung_engine_answers_nothing_until_the_fault_is_cleared(
    started: Any, answers: Any, request_for: Requests
) -> None:
    engine = await started("--sim-fault", "hang-after-tokens=10")
    engine.submit(request_for(1, max_new_tokens=40))
    await answers.until(lambda: len(answers.tokens.get(name(1), ())) >= 10)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(answers.tokens[name(1)]) == 10
    assert engine.loads()[0].requests_running == 1
    engine.fault("clear")
    await answers.end_of(name(1))
    assert answers.ends[name(1)].reason == "length"
    with pytest.raises(ValueError, match="no fault"):
        engine.fault("nonsense")


async def test_crashes_by_count_and_by_seed_reach_the_process(
    started: Any, request_for: Requests
) -> None:
    crashes: list[str] = []
    faults = Faults(crash=lambda: crashes.append("crash"), block=lambda: crashes.append("block"))
    engine = await started("--sim-request-faults", faults=faults)
    engine.submit(request_for(1, seed=770_002))
    engine.submit(request_for(2, seed=770_004))
    engine.fault("crash-after-requests=0")
    engine.submit(request_for(3))
    assert crashes == ["crash", "block", "crash"]


async def test_magic_seeds_fail_or_mute_a_request_only_if_allowed(
    started: Any, answers: Any, request_for: Requests
) -> None:
    wary, willing = await started(), await started("--sim-request-faults")
    wary.submit(request_for(1, seed=770_001))
    willing.submit(request_for(2, seed=770_001))
    willing.submit(request_for(3, seed=770_003))
    willing.submit(request_for(4))
    await answers.end_of(name(1), name(2), name(4))
    assert isinstance(answers.ends[name(1)], Finished)
    assert answers.ends[name(2)].code == "engine_fault"
    assert name(3) not in answers.tokens
    willing.abort(name(3))
    await answers.end_of(name(3))
    assert answers.ends[name(3)] == Finished("abort", 3, 0)


async def test_a_stopped_engine_tells_nothing_more(
    model_dir: Path, request_for: Requests, answers: Any
) -> None:
    engine = SimEngine.from_argv(["--model-path", str(model_dir)])
    await engine.start(answers.take, pytest.fail)
    await engine.stop()
    engine.submit(request_for(1))
    await engine.stop()
    assert not answers.ends


class ClockedLoop:
    """What a RankRunner needs of a loop, with time that moves when we say so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.late_s = 0.0
        self.timers: list[tuple[float, int, Any]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Any) -> Any:
        return self.call_at(self.now, callback)

    def call_at(self, when: float, callback: Any) -> Any:
        timer = (when, len(self.timers), callback)
        self.timers.append(timer)
        return _Handle(self, timer)

    def run(self) -> None:
        while self.timers:
            self.run_one()

    def run_one(self) -> None:
        timer = min(self.timers)
        self.timers.remove(timer)
        self.now = max(self.now, timer[0] + self.late_s)
        timer[2]()


class _Handle:
    def __init__(self, loop: ClockedLoop, timer: Any) -> None:
        self._loop, self._timer = loop, timer

    def cancel(self) -> None:
        if self._timer in self._loop.timers:
            self._loop.timers.remove(self._timer)


def paced(
    bench: Any, *, speedup: float, slow: str | None = None
) -> tuple[ClockedLoop, Any, RankRunner, list[float]]:
    loop, b, faults, times = ClockedLoop(), bench(pages=512), Faults(), []

    def deliver(deltas: Any) -> None:
        times.append(loop.now)
        b.answers.take(deltas)

    if slow:
        faults.arm(slow)
    return (
        loop,
        b,
        RankRunner(b.scheduler, deliver, loop, faults, speedup=speedup, unix_ms=lambda: 0),
        times,
    )  # type: ignore[arg-type]


def test_steps_take_the_time_of_the_model_divided_by_the_speedup(
    bench: Any, request_for: Requests
) -> None:
    loop, b, runner, times = paced(bench, speedup=2.0)
    b.submit(request_for(1, range(100), 3))
    runner.wake()
    loop.run()
    timing = b.scheduler._timing
    prefill_s = (timing.prefill_ms(64) + timing.prefill_ms(36)) / 2 / 1000
    decode_s = timing.decode_ms(26 / 512) / 2 / 1000
    assert times == pytest.approx(
        [100 + prefill_s, 100 + prefill_s + decode_s, 100 + prefill_s + 2 * decode_s]
    )


def test_late_timers_do_not_add_up(bench: Any, request_for: Requests) -> None:
    loop, b, runner, times = paced(bench, speedup=1.0)
    loop.late_s = 0.001
    b.submit(request_for(1, range(10), 200))
    runner.wake()
    loop.run()
    ideal, on_time, prompt_runner, punctual = paced(bench, speedup=1.0)
    on_time.submit(request_for(1, range(10), 200))
    prompt_runner.wake()
    ideal.run()
    assert len(times) == 200
    assert times[-1] - punctual[-1] < 0.003


def test_a_stalled_loop_is_not_caught_up_with(bench: Any, request_for: Requests) -> None:
    loop, b, runner, times = paced(bench, speedup=1.0)
    b.submit(request_for(1, range(10), 50))
    runner.wake()
    loop.run_one()
    loop.late_s = 5.0
    loop.run_one()
    loop.late_s = 0.0
    loop.run()
    burst = [when for when in times if when == times[0]]
    assert len(times) == 50
    assert 1 < len(burst) <= 2 + LAG_S_MAX / 0.00574


def test_slowness_stretches_steps_even_at_infinite_speed(bench: Any, request_for: Requests) -> None:
    loop, b, runner, times = paced(bench, speedup=0.0, slow="slow=3")
    b.submit(request_for(1, range(10), 1))
    runner.wake()
    loop.run()
    assert times == pytest.approx([100 + 3 * b.scheduler._timing.prefill_ms(10) / 1000])


def test_an_abort_during_a_step_is_told_after_what_the_step_tells(
    bench: Any, request_for: Requests
) -> None:
    loop, b, runner, _ = paced(bench, speedup=1.0)
    b.submit(request_for(1, range(10), 50))
    runner.wake()
    loop.run_one()
    b.abort(name(1))
    assert name(1) not in b.answers.tokens
    loop.run()
    end = b.answers.ends[name(1)]
    assert not isinstance(end, Failed)
    assert (end.reason, end.completion_tokens) == ("abort", 1)
    assert not b.scheduler.busy


def canary(request_for: Any, number: int, **options: Any) -> Generate:
    return replace(
        request_for(number, (1,), 1, **options), request_id=f"{CANARY_PREFIX}{number:020x}"
    )


async def test_a_canary_is_answered_and_counts_for_nothing(
    started: Any, answers: Any, request_for: Any
) -> None:
    engine = await started(
        "--sim-fault", "crash-after-requests=1", "--sim-fault", "hang-after-tokens=5"
    )
    for number in range(3):
        engine.submit(canary(request_for, number))
    await answers.end_of(*(f"{CANARY_PREFIX}{number:020x}" for number in range(3)))
    engine.submit(request_for(1, max_new_tokens=4))
    await answers.end_of(f"{1:032x}")


async def test_a_busy_rank_answers_a_canary_before_its_queue(
    started: Any, answers: Any, request_for: Any
) -> None:
    engine = await started("--max-running-requests", "1")
    for number in range(1, 4):
        engine.submit(request_for(number, max_new_tokens=20))
    asked = canary(request_for, 1)
    engine.submit(asked)
    await answers.end_of(asked.request_id)
    assert not set(answers.ends) - {asked.request_id}


async def test_a_hung_rank_answers_no_canary_until_it_goes_on(
    started: Any, answers: Any, request_for: Any
) -> None:
    engine = await started("--sim-fault", "hang-s=0.05", "--sim-fault", "hang-after-tokens=2")
    engine.submit(request_for(1, max_new_tokens=5))
    await answers.until(lambda: len(answers.tokens.get(f"{1:032x}", ())) == 2)
    dropped, kept = canary(request_for, 1), canary(request_for, 2)
    engine.submit(dropped)
    engine.submit(kept)
    engine.abort(dropped.request_id)
    await answers.end_of(dropped.request_id)
    assert len(answers.tokens[f"{1:032x}"]) == 2
    await answers.end_of(kept.request_id, f"{1:032x}")


async def test_an_engine_that_dies_says_so_and_goes_silent(
    started: Any, answers: Any, request_for: Any
) -> None:
    engine = await started("--sim-fault", "engine-death-after-tokens=3")
    engine.submit(request_for(1, max_new_tokens=50))
    engine.submit(request_for(2, max_new_tokens=50))
    while not answers.deaths:
        await asyncio.sleep(0)
    assert answers.deaths == ["the simulated engine died"]
    assert not answers.ends
