"""Canaries between intake and an engine that answers only when the test says so."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol.generation import Finished, Generate, Sampling
from protocol.membership import Capacity, ModelCard, RankLoad
from protocol.process.start_error import StartError
from protocol.replies import Delta, Failed
from protocol.tokens import pack_tokens, unpack_tokens
from workers.engine import CANARY_PREFIX, Deliver, EngineFacts, OnDeath
from workers.health.canary import CanaryFields, canary_maker, read_canary_fields
from workers.health.rank_watch import HealthLimits
from workers.health.watched_engine import HealthSettings, WatchedEngine
from workers.kinds.text import TEXT

LIMITS = HealthLimits(idle_silence_s=10.0, answer_s=3.0)


def _facts(ranks: int) -> EngineFacts:
    card = ModelCard(name="m", context_length=100, vocab_size=50, eos_token_ids=[], files=[])
    capacity = Capacity(dp_size=ranks, page_size_tokens=16, kv_tokens=1_000, requests_running_max=4)
    return EngineFacts(card=card, card_files={}, capacity=capacity, version="none")


class QuietEngine:
    """Keeps what it is given."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.given: list[Generate] = []
        self.aborted: list[str] = []

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts:
        self.deliver = deliver
        return _facts(self.ranks)

    def submit(self, request: Generate) -> None:
        self.given.append(request)

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    def loads(self) -> list[RankLoad]:
        return []

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...

    def token(self, request_id: str) -> None:
        self.deliver([Delta(request_id, 0, pack_tokens([7]))])

    def end(self, request_id: str, end: Finished | Failed | None = None) -> None:
        self.deliver([Delta(request_id, 0, b"", end or Finished("abort", 1, 0))])


class Bench:
    """A watched engine of some ranks, a clock, and beats."""

    def __init__(self, ranks: int, **settings: Any) -> None:
        self.now = 1_000.0
        self.engine = QuietEngine(ranks)
        self.watched = WatchedEngine(
            self.engine,
            HealthSettings(limits=LIMITS, **settings),
            canaries=TEXT.canaries,
            clock=lambda: self.now,
        )
        self.delivered: list[Delta] = []

    async def begin(self) -> "Bench":
        await self.watched.start(self._take, pytest.fail)
        return self

    def _take(self, deltas: Sequence[Delta]) -> None:
        self.delivered += deltas

    @property
    def canaries(self) -> list[Generate]:
        return [
            request for request in self.engine.given if request.request_id.startswith(CANARY_PREFIX)
        ]

    async def beat(self, seconds: float = 0.25) -> None:
        for _ in range(round(seconds / 0.25)):
            self.now += 0.25
            self.watched.check()
            await asyncio.sleep(0)

    async def answered(self) -> None:
        """Every rank answers its canary, one after the other."""
        done = 0
        while done < len(self.canaries):
            self.engine.end(self.canaries[done].request_id)
            done += 1
            await asyncio.sleep(0)


@pytest.fixture
def bench() -> Callable[..., Any]:
    return lambda ranks=1, **settings: Bench(ranks, **settings).begin()


def _request(number: int, rank: int | None = 0) -> Generate:
    return Generate(
        f"{number:032x}",
        "m",
        pack_tokens([1, 2]),
        Sampling(max_new_tokens=9),
        1 << 50,
        routed_dp_rank=rank,
    )


async def test_each_rank_is_asked_in_turn_right_after_the_start(bench: Any) -> None:
    rig = await bench(3)
    await rig.beat()
    assert len(rig.canaries) == 1
    await rig.answered()
    assert sorted(canary.routed_dp_rank for canary in rig.canaries) == [0, 1, 2]
    assert len({canary.request_id for canary in rig.canaries}) == 3
    assert all(len(canary.request_id) == 32 for canary in rig.canaries)
    await rig.beat(9)
    assert len(rig.canaries) == 3
    await rig.beat(1.25)
    assert len(rig.canaries) == 4


async def test_a_canary_is_one_token_greedy(bench: Any) -> None:
    rig = await bench()
    await rig.beat()
    (canary,) = rig.canaries
    assert list(unpack_tokens(canary.token_ids)) == [1]
    assert (canary.sampling.max_new_tokens, canary.sampling.temperature) == (1, 0.0)


async def test_a_rank_that_streams_is_not_asked(bench: Any) -> None:
    rig = await bench()
    await rig.beat()
    await rig.answered()
    rig.watched.submit(_request(1))
    for _ in range(100):
        rig.engine.token(f"{1:032x}")
        await rig.beat(0.5)
    assert len(rig.canaries) == 1
    assert len(rig.delivered) > 100


async def test_a_rank_that_freezes_in_mid_stream_is_named_and_recovers(bench: Any) -> None:
    rig = await bench(2)
    await rig.beat()
    await rig.answered()
    rig.watched.submit(_request(1, rank=1))
    rig.engine.token(f"{1:032x}")
    await rig.beat(3.75)
    assert rig.watched.reason == ""
    await rig.beat(0.25)
    assert rig.watched.reason.startswith("rank 1 has not answered for 3.")
    before = rig.canaries[-1].request_id
    await rig.beat(3)
    assert before in rig.engine.aborted  # replaced: at most one a rank is kept
    rig.engine.token(f"{1:032x}")
    assert rig.watched.reason == ""


async def test_refusals_and_aborts_are_no_sign_of_life(bench: Any) -> None:
    """They may come from the worker itself."""
    rig = await bench()
    await rig.beat()
    await rig.answered()
    rig.watched.submit(_request(1))
    for number in range(2, 22):
        rig.watched.submit(_request(number))
        rig.engine.end(f"{number:032x}", Failed("overloaded", "full"))
        await rig.beat()
    assert "rank 0" in rig.watched.reason


async def test_one_frozen_rank_does_not_keep_the_others_from_being_asked(bench: Any) -> None:
    rig = await bench(2)
    await rig.beat()
    silent = rig.canaries[0].routed_dp_rank
    await rig.beat(4)
    other = rig.canaries[-1]
    assert other.routed_dp_rank == 1 - silent
    rig.engine.end(other.request_id)
    assert rig.watched.reason.startswith(f"rank {silent} ")


async def test_many_frozen_ranks_are_named_briefly(bench: Any) -> None:
    rig = await bench(6)
    await rig.beat(30)
    assert rig.watched.reason.endswith("; and 3 more")


async def test_a_failed_canary_is_the_reason_and_a_full_engine_is_none(bench: Any) -> None:
    rig = await bench()
    await rig.beat()
    rig.engine.end(rig.canaries[-1].request_id, Failed("overloaded", "full"))
    assert rig.watched.reason == ""
    await rig.beat(10.5)
    rig.engine.end(rig.canaries[-1].request_id, Failed("engine_fault", "NaN in the logits"))
    assert rig.watched.reason == "rank 0 failed its health check: NaN in the logits"


async def test_after_a_standstill_of_our_own_nothing_is_concluded(bench: Any) -> None:
    rig = await bench()
    await rig.beat()
    rig.now += 60.0
    await rig.beat()
    assert rig.watched.reason == ""
    await rig.answered()
    assert rig.watched.states()[0].timeout == 0


async def test_a_request_without_a_rank_on_an_engine_of_several_is_counted_to_none(
    bench: Any,
) -> None:
    rig = await bench(2)
    rig.watched.submit(_request(1, rank=None))
    rig.engine.token(f"{1:032x}")
    assert [state.unfinished for state in rig.watched.states()] == [0, 0]
    assert [state.silence_s for state in rig.watched.states()] == [None, None]


async def test_nothing_is_kept_of_what_has_ended(bench: Any) -> None:
    rig = await bench()
    await rig.beat()
    await rig.answered()
    for number in range(100):
        rig.watched.submit(_request(number))
        if number % 2:
            rig.engine.token(f"{number:032x}")
        assert bool(rig.watched.ranks[0].waiting_tokens) is not bool(number % 2)
        rig.engine.end(f"{number:032x}", Finished("stop", 2, 1))
    assert (rig.watched.states()[0].unfinished, rig.watched.ranks[0].waiting_tokens) == (0, 0)
    assert not rig.watched._watch_of
    assert not rig.watched._prompt_tokens
    assert not rig.watched._canaries


async def test_checks_can_be_switched_off(bench: Any) -> None:
    rig = await bench(enabled=False)
    rig.watched.submit(_request(1))
    await rig.beat(60)
    rig.engine.end(f"{1:032x}", Finished("stop", 2, 1))
    assert (rig.canaries, rig.watched.reason, len(rig.delivered)) == ([], "", 1)


def test_the_payload_is_json_or_a_file_with_it(tmp_path: Path) -> None:
    assert read_canary_fields(None) == CanaryFields()
    assert read_canary_fields('{"token_ids": [4, 5], "max_new_tokens": 2}') == CanaryFields(
        token_ids=(4, 5), max_new_tokens=2
    )
    file = tmp_path / "canary.json"
    file.write_text('{"temperature": 0.5}')
    assert read_canary_fields(f"@{file}") == CanaryFields(temperature=0.5)


def test_the_payload_may_have_the_reference_products_form() -> None:
    """That of workers that generate, with what it always says; of vectors; of videos."""
    told = {
        "token_ids": [7],
        "stop_conditions": {"max_tokens": 2, "ignore_eos": True},
        "sampling_options": {"temperature": 0.5, "top_p": 0.9, "top_k": 3},
        "eos_token_ids": [],
        "annotations": [],
        "bootstrap_info": {"bootstrap_host": "h", "bootstrap_port": 1, "bootstrap_room": 0},
        "_HEALTH_CHECK": True,
    }
    assert read_canary_fields(json.dumps(told)) == CanaryFields(
        token_ids=(7,), max_new_tokens=2, ignore_eos=True, temperature=0.5, top_p=0.9, top_k=3
    )
    vectors = {"model": "m", "input": [5]}
    assert read_canary_fields(json.dumps(vectors)) == CanaryFields(token_ids=(5,))
    video = {
        "prompt": "a wave",
        "seconds": 1,
        "size": "256x256",
        "response_format": "b64_json",
        "nvext": {"fps": 8, "num_frames": 8, "num_inference_steps": 5, "guidance_scale": 1.0},
    }
    assert read_canary_fields(json.dumps(video)) == CanaryFields(
        prompt="a wave",
        size="256x256",
        fps=8,
        num_frames=8,
        num_inference_steps=5,
        guidance_scale=1.0,
    )


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{",
        '{"n": 2}',
        '{"annotations": ["x"]}',
        '{"stop_conditions": {"stop": ["x"]}}',
        '{"stop_conditions": {"max_tokens": 1}, "max_new_tokens": 1}',
        '{"stop_conditions": 1}',
        '{"input": "text"}',
        "[]",
        "@nowhere.json",
        '{"messages": []}',
        '{"size": "large"}',
        '{"token_ids": []}',
        '{"max_new_tokens": 0}',
    ],
)
def test_a_payload_that_is_none_is_a_start_error_in_one_line(payload: str) -> None:
    with pytest.raises(StartError, match="--health-check-payload") as caught:
        read_canary_fields(payload)
    assert "\n" not in str(caught.value)


def test_a_token_that_the_model_does_not_have_is_a_start_error() -> None:
    with pytest.raises(StartError, match="token 50 is beyond the vocabulary of 50"):
        canary_maker(TEXT.canaries, _facts(1), CanaryFields(token_ids=(50,)))
