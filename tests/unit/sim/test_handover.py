"""Two simulated engines run one request: over real sockets, through all that may befall a leg."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.disaggregation import Bootstrap, BootstrapServer
from protocol.generation import Finished, Generate
from protocol.process.start_error import StartError
from protocol.replies import Failed
from protocol.transport.curve import MeshKey
from tests.unit.sim.conftest import Answers
from workers.engine import FAKE_BOOTSTRAP_HOST
from workers.sim.engine import SimEngine
from workers.sim.handover.opening import meetings_of

Requests = Callable[..., Any]
PROMPT = range(100)


class Side:
    """One engine and what it delivered."""

    def __init__(self, engine: SimEngine) -> None:
        self.engine = engine
        self.answers = Answers()
        self.server: BootstrapServer | None = None

    async def start(self) -> None:
        facts = await self.engine.start(self.answers.take, pytest.fail)
        self.server = facts.bootstrap

    @property
    def kv_tokens_used(self) -> int:
        return sum(load.kv_tokens_used for load in self.engine.loads())

    @property
    def requests(self) -> int:
        return sum(load.requests_running + load.requests_waiting for load in self.engine.loads())


class Pair:
    """A prefill engine, a decode engine, and a whole one to compare with."""

    def __init__(self, model_dir: Path, request_for: Requests, key: MeshKey | None = None) -> None:
        self._argv = ["--model-path", str(model_dir), "--sim-speedup", "0"]
        self._meetings = partial(meetings_of, key=key)
        self._request_for = request_for
        self.whole = self.side()
        self.prefill = self.side("prefill")
        self.decode = self.side("decode", "--max-running-requests", "4")

    def side(self, mode: str = "null", *more: str) -> Side:
        argv = [*self._argv, "--disaggregation-mode", mode, *more]
        return Side(SimEngine.from_argv(argv, kv_events=False, meetings=self._meetings))

    def request(self, number: int, tokens: int = 6, prompt: Sequence[int] = PROMPT) -> Generate:
        return self._request_for(number, prompt, tokens)

    def legs(self, number: int, **fields: Any) -> tuple[Generate, Generate]:
        request = self.request(number, **fields)
        assert self.prefill.server is not None
        bootstrap = Bootstrap(self.prefill.server.host, self.prefill.server.port, 7_000 + number)
        one = replace(request.sampling, max_new_tokens=1)
        return (
            replace(request, sampling=one, bootstrap=bootstrap),
            replace(request, bootstrap=bootstrap),
        )


@pytest.fixture
async def pair(model_dir: Path, request_for: Requests) -> AsyncIterator[Pair]:
    pair = Pair(model_dir, request_for)
    sides = [pair.whole, pair.prefill, pair.decode]
    for side in sides:
        await side.start()
    yield pair
    for side in sides:
        await side.engine.stop()


def name(number: int) -> str:
    return f"{number:032x}"


async def seen(condition: Callable[[], bool]) -> None:
    """Let the loop turn until a load says so, of which nothing else tells."""
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize("prefill_first", [True, False])
async def test_two_legs_give_what_one_engine_gives(pair: Pair, prefill_first: bool) -> None:
    pair.whole.engine.submit(pair.request(1))
    await pair.whole.answers.end_of(name(1))
    legs = list(zip((pair.prefill, pair.decode), pair.legs(1), strict=True))
    for side, leg in legs if prefill_first else reversed(legs):
        side.engine.submit(leg)
        await asyncio.sleep(0)
    for side, _ in legs:
        await side.answers.end_of(name(1))
    assert pair.decode.answers.tokens[name(1)] == pair.whole.answers.tokens[name(1)]
    assert pair.decode.answers.ends[name(1)] == pair.whole.answers.ends[name(1)]
    assert pair.prefill.answers.tokens[name(1)] == pair.whole.answers.tokens[name(1)][:1]
    assert (pair.decode.kv_tokens_used, pair.prefill.requests) == (0, 0)


async def test_engines_of_other_hosts_meet_under_the_key_of_the_mesh(
    model_dir: Path, request_for: Requests
) -> None:
    pair = Pair(model_dir, request_for, MeshKey(b"k" * 32))
    pair.prefill = pair.side("prefill", "--host", "0.0.0.0")
    sides = [pair.prefill, pair.decode]
    for side in sides:
        await side.start()
    pair.prefill.server = replace(pair.prefill.server, host="127.0.0.1")  # as its worker tells it
    for side, leg in zip(sides, pair.legs(1), strict=True):
        side.engine.submit(leg)
    for side in sides:
        await side.answers.end_of(name(1))
        assert isinstance(side.answers.ends[name(1)], Finished)
        await side.engine.stop()


async def test_without_a_key_no_engine_of_another_host_is_met(
    model_dir: Path, request_for: Requests
) -> None:
    side = Pair(model_dir, request_for).side("prefill", "--host", "0.0.0.0")
    with pytest.raises(StartError, match="the mesh needs a key"):
        await side.start()
    await side.engine.stop()


async def test_many_legs_share_the_engines(pair: Pair) -> None:
    for number in range(20):
        for side, leg in zip((pair.prefill, pair.decode), pair.legs(number), strict=True):
            side.engine.submit(leg)
    await pair.decode.answers.end_of(*map(name, range(20)))
    assert all(isinstance(end, Finished) for end in pair.decode.answers.ends.values())
    # of the later ones the prefill engine had the prompt
    assert pair.decode.answers.ends[name(19)].cached_tokens == 96
    assert (pair.decode.kv_tokens_used, pair.decode.requests) == (0, 0)


async def test_a_prompt_waits_for_who_generates(pair: Pair) -> None:
    first, _ = pair.legs(1)
    pair.prefill.engine.submit(first)
    pair.prefill.engine.submit(pair.legs(2, prompt=[1])[0])
    assert pair.prefill.answers.ends == {}
    pair.prefill.engine.abort(name(1))
    await pair.prefill.answers.end_of(name(1))
    assert pair.prefill.answers.ends[name(1)].reason == "abort"


async def test_an_abort_of_either_leg_frees_both(pair: Pair) -> None:
    pair.prefill.engine.fault("transfer-stall")
    for number in (1, 2):
        for side, leg in zip((pair.prefill, pair.decode), pair.legs(number), strict=True):
            side.engine.submit(leg)
    await seen(lambda: pair.decode.kv_tokens_used > 0)
    pair.decode.engine.abort(name(1))
    await pair.decode.answers.end_of(name(1))
    await pair.prefill.answers.end_of(name(1))
    pair.prefill.engine.abort(name(2))
    await pair.prefill.answers.end_of(name(2))
    await pair.decode.answers.end_of(name(2))
    assert isinstance(pair.decode.answers.ends[name(2)], Failed)
    assert pair.decode.answers.ends[name(2)].code == "handover_failed"
    assert (pair.decode.kv_tokens_used, pair.decode.requests, pair.prefill.requests) == (0, 0, 0)


@pytest.mark.parametrize("who", ["decode engine", "frontend"])
async def test_a_prompt_that_is_given_up_in_its_last_step_is_not_sent(pair: Pair, who: str) -> None:
    slow = pair.side("prefill", "--sim-speedup", "1")
    await slow.start()
    pair.prefill.server = slow.server
    slow.engine.fault("transfer-stall")  # else the cache would be sent to nobody
    first, second = pair.legs(1)
    pair.decode.engine.submit(second)
    slow.engine.submit(first)
    await seen(lambda: slow.requests > 0)
    await seen(lambda: slow.requests == 0)  # computed, and the step has yet to pass
    if who == "frontend":
        slow.engine.abort(name(1))
    else:
        pair.decode.engine.abort(name(1))
    await slow.answers.end_of(name(1))
    await pair.decode.answers.end_of(name(1))
    await slow.engine.stop()


async def test_a_cache_that_is_lost_on_its_way_ends_both_legs(pair: Pair) -> None:
    pair.prefill.engine.fault("transfer-error-every=2")
    for number in (1, 2, 3):
        for side, leg in zip((pair.prefill, pair.decode), pair.legs(number), strict=True):
            side.engine.submit(leg)
    await pair.decode.answers.end_of(*map(name, (1, 2, 3)))
    ends = pair.decode.answers.ends
    assert sum(isinstance(end, Failed) for end in ends.values()) == 1
    assert pair.decode.kv_tokens_used == 0


async def test_the_pages_of_what_is_awaited_are_taken(pair: Pair) -> None:
    pair.prefill.engine.fault("transfer-stall")
    for number in range(6):
        for side, leg in zip((pair.prefill, pair.decode), pair.legs(number), strict=True):
            side.engine.submit(leg)
    await seen(lambda: pair.decode.kv_tokens_used > 0)
    assert pair.decode.kv_tokens_used == 4 * 112  # as many as it runs at once
    assert pair.decode.requests == 6
    for number in range(6):
        pair.decode.engine.abort(name(number))
    await pair.decode.answers.end_of(*map(name, range(6)))
    assert pair.decode.kv_tokens_used == 0


@pytest.mark.parametrize("mode", ["prefill", "decode"])
async def test_a_leg_that_is_to_meet_nobody_meets_nobody(pair: Pair, mode: str) -> None:
    side = pair.prefill if mode == "prefill" else pair.decode
    alone = replace(pair.request(1), bootstrap=Bootstrap(FAKE_BOOTSTRAP_HOST, 1, 1))
    side.engine.submit(alone)
    await side.answers.end_of(name(1))
    assert isinstance(side.answers.ends[name(1)], Finished)


async def test_what_is_kept_fails_as_lost_when_the_engine_stops(pair: Pair) -> None:
    pair.prefill.engine.submit(pair.legs(1)[0])
    pair.decode.engine.submit(pair.legs(2)[1])
    await pair.prefill.engine.stop()
    await pair.decode.engine.stop()
    for side, number in ((pair.prefill, 1), (pair.decode, 2)):
        assert side.answers.ends[name(number)].code == "worker_lost"


async def test_a_taken_port_is_said_in_one_line(pair: Pair) -> None:
    assert pair.prefill.server is not None
    port = str(pair.prefill.server.port)
    second = pair.side("prefill", "--disaggregation-bootstrap-port", port)
    with pytest.raises(
        StartError, match=rf"--disaggregation-bootstrap-port: tcp://127\.0\.0\.1:{port}"
    ):
        await second.start()
    await second.engine.stop()  # as a worker does
