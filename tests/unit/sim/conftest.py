"""A tiny model directory, requests with one-line calls, schedulers with small caches, and an engine
that runs to its end.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from protocol.generation import Generate, Sampling
from protocol.replies import Delta
from protocol.tokens import pack_tokens, unpack_tokens
from workers.sim.engine import SimEngine
from workers.sim.faults import Faults
from workers.sim.scheduling.diffusing import DiffusingScheduler
from workers.sim.scheduling.limits import SchedulerLimits
from workers.sim.scheduling.radix_cache import RadixCache
from workers.sim.scheduling.scheduler import Scheduler
from workers.sim.scheduling.sequence import RequestLimits, new_sequence
from workers.sim.settings import read_settings
from workers.sim.text import TextModel
from workers.sim.timing import TimingModel

WORDS = 200
EOS = WORDS


class Answers:
    """What an engine delivered, by request id; checks that deltas are gapless and end once."""

    def __init__(self) -> None:
        self.tokens: dict[str, list[int]] = {}
        self.ends: dict[str, Any] = {}
        self.deltas: dict[str, list[Delta]] = {}
        self.deaths: list[str] = []
        self.batches = 0
        self.changed = asyncio.Event()

    def take(self, deltas: Sequence[Delta]) -> None:
        self.batches += 1
        for delta in deltas:
            name = delta.request_id
            assert name not in self.ends, "a delta after the end"
            tokens = self.tokens.setdefault(name, [])
            assert delta.start == len(tokens), "a gap"
            assert delta.token_ids or delta.end is not None, "a delta about nothing"
            tokens.extend(unpack_tokens(delta.token_ids))
            self.deltas.setdefault(name, []).append(delta)
            if delta.end is not None:
                self.ends[name] = delta.end
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def end_of(self, *names: str) -> None:
        await self.until(lambda: all(name in self.ends for name in names))


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="session")
def request_for() -> Callable[..., Generate]:
    """request_for(number, prompt ids, max new tokens, **fields of Generate, **sampling)."""

    def build(
        number: int, prompt: Sequence[int] = (1, 2, 3), max_new_tokens: int = 4, **options: Any
    ) -> Generate:
        names = ("stream", "deadline_unix_ms", "routed_dp_rank", "lora_name", "cache_salt")
        outer = {key: options.pop(key) for key in names if key in options}
        outer.setdefault("deadline_unix_ms", 1 << 60)
        sampling = Sampling(max_new_tokens, **options)
        return Generate(f"{number:032x}", "sim", pack_tokens(prompt), sampling, **outer)

    return build


class Bench:
    """A scheduler with its parts in reach."""

    def __init__(self, **limits: Any) -> None:
        mean = limits.pop("output_tokens_mean", 0.0)
        stream_interval = limits.pop("stream_interval", 1)
        block_steps = limits.pop("block_steps", None)
        page, pages = limits.pop("page", 4), limits.pop("pages", 64)
        listener = limits.pop("listener", None)
        defaults: dict[str, Any] = {
            "requests_running_max": 8,
            "requests_waiting_max": 1000,
            "chunk_tokens": 64,
        }
        self.limits = SchedulerLimits(page_size_tokens=page, kv_pages=pages, **(defaults | limits))
        self.cache = RadixCache(page, listener)
        self.text = TextModel(range(WORDS), eos_id=EOS, output_tokens_mean=mean)
        parts = self.limits, self.cache, self.text, TimingModel()
        self.scheduler = (
            Scheduler(*parts)
            if block_steps is None
            else DiffusingScheduler(*parts, block_steps=block_steps)
        )
        self.request_limits = RequestLimits(
            context_length=100_000,
            vocab_size=WORDS + 1,
            kv_tokens_max=page * pages,
            stream_interval=stream_interval,
        )
        self.answers = Answers()
        self.durations_ms: list[float] = []

    def submit(self, request: Generate) -> None:
        sequence = new_sequence(request, self.request_limits, self.text, frozenset([EOS]))
        refusal = sequence if not hasattr(sequence, "prompt") else self.scheduler.submit(sequence)
        if refusal is not None:
            self.answers.take([Delta(request.request_id, 0, b"", refusal)])

    def step(self, now_unix_ms: int = 0) -> list[Delta]:
        step = self.scheduler.step(now_unix_ms)
        self.durations_ms.append(step.duration_ms)
        self.answers.take(step.deltas)
        return step.deltas

    def abort(self, request_id: str) -> None:
        delta = self.scheduler.abort(request_id)
        if delta is not None:
            self.answers.take([delta])

    def run(self, steps_max: int = 100_000) -> None:
        for _ in range(steps_max):
            if not self.scheduler.busy:
                return
            self.step()
        raise AssertionError("the scheduler does not end")


@pytest.fixture(scope="session")
def bench() -> Callable[..., Bench]:
    return Bench


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A model of 200 words (ids 0..199) and an end-of-sequence token (200)."""
    syllables = [
        first + second + third for first in "bdgkl" for second in "aeiou" for third in "bdgklmnr"
    ]
    vocab = {"Ġ" + word: number for number, word in enumerate(syllables)}
    assert len(vocab) == WORDS
    tokenizer = {
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
        "added_tokens": [{"id": EOS, "content": "<end>", "special": True}],
    }
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    config = {"vocab_size": WORDS + 1, "max_position_embeddings": 4096, "eos_token_id": EOS}
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


@pytest.fixture
async def started(model_dir: Path, answers: Answers) -> Any:
    """await started("--dp-size", "2", …) gives a running engine as fast as Python goes; stopped at
    the end of the test.
    """
    engines: list[SimEngine] = []

    async def start(*argv: str, speedup: str = "0", **parts: Any) -> SimEngine:
        settings = read_settings(["--model-path", str(model_dir), "--sim-speedup", speedup, *argv])
        parts.setdefault("faults", Faults(crash=_no_crash, block=_no_crash))
        engine = SimEngine(settings, **parts)
        await engine.start(answers.take, answers.deaths.append)
        engines.append(engine)
        return engine

    yield start
    for engine in engines:
        await engine.stop()


def _no_crash() -> None:
    raise AssertionError("a test without this fault crashed")
