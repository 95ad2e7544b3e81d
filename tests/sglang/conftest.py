"""Real engines in processes of their own, one per configuration for the whole session."""

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import zmq

from protocol.generation import Finished, Generate, Sampling
from protocol.membership import RankLoad
from protocol.replies import Delta, Failed
from protocol.requests import Abort
from protocol.tokens import pack_tokens, unpack_tokens
from tests.kit.forks import run_with_sglang, start_with_sglang
from tests.kit.kept import keep
from workers.engine import CANARY_PREFIX, EngineFacts

HERE = Path(__file__).parent
FAR_FUTURE_MS = 4_000_000_000_000
START_S_MAX = 300
"""An engine starts in 20 s on an idle machine; on one that compiles beside it, in minutes."""
PATIENCE_S = 60


class EngineClient:
    """A started engine process: `send` commands, `collect` deltas.

    Every wait ends when the process does.
    """

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._socket = zmq.Context.instance().socket(zmq.PAIR)
        address = f"ipc://{log.with_suffix('.sock')}"
        self._socket.sndtimeo = 1_000 * PATIENCE_S  # or whoever asks an ended one waits forever
        self._socket.bind(address)
        self.process = start_with_sglang([HERE / "engine_process.py", address, *argv], log, {})
        self.steps: list[list[Delta]] = []
        self.by_id: dict[str, list[Delta]] = {}
        self._facts: EngineFacts | None = None
        self._death: str | None = None
        self.deferred_ran = False
        """Whether SGLang's own handler of SIGTERM ran in stop()."""

    @property
    def facts(self) -> EngineFacts:
        if self._facts is None:
            self._facts = msgspec.convert(
                self._receive("facts"), EngineFacts, dec_hook=lambda kind, value: kind(value)
            )
        return self._facts

    def send(self, *commands: Any) -> None:
        """Commands of one call reach the engine in one turn of its loop."""
        _ = self.facts
        self._socket.send(msgspec.msgpack.encode(list(commands)))

    def collect(
        self, *request_ids: str, until: Callable[[], bool] | None = None
    ) -> list[list[Delta]]:
        """The deltas of each request, once all have ended (or `until` says so)."""

        def all_ended() -> bool:
            return all(
                self.by_id.get(rid) and self.by_id[rid][-1].end is not None for rid in request_ids
            )

        while not (until or all_ended)():
            self._receive("step")
        return [self.by_id.get(rid, []) for rid in request_ids]

    def run(self, *requests: Generate) -> list[list[Delta]]:
        self.send(*requests)
        return self.collect(*(request.request_id for request in requests))

    def loads(self) -> list[RankLoad]:
        self.send({"type": "loads"})
        return msgspec.convert(self._receive("loads"), list[RankLoad])

    def state(self) -> dict[str, Any]:
        """What SGLang keeps, and its processes."""
        self.send({"type": "state"})
        return self._receive("state")

    def rest(self) -> None:
        """Returns once no scheduler has anything left: each keeps its last batch for a moment
        behind that batch's output. SGLang flushes a cache then and not before.
        """
        self.send({"type": "idle"})
        assert self._receive("idle"), self.process.last_words()

    def death(self) -> str:
        """Why the engine says that it died, once it does."""
        if self._death is None:
            self._death = self._receive("death")
        return self._death

    def stop(self, *, kill: bool = False) -> list[int]:
        """Child processes that are left after engine.stop()."""
        self.send({"type": "stop", "kill": kill})
        left, self.deferred_ran = self._receive("stopped")
        self.process.popen.wait(PATIENCE_S)
        return left

    def _receive(self, kind: str) -> Any:
        patience_s = START_S_MAX if kind == "facts" else PATIENCE_S
        while True:
            for _ in range(patience_s):
                if self._socket.poll(1000):
                    break
                if not self.process.alive():
                    pytest.fail(f"the engine process ended:\n{self.process.last_words()}")
            else:
                pytest.fail(f"no {kind} within {patience_s} s:\n{self.process.last_words()}")
            got, content = msgspec.msgpack.decode(self._socket.recv())
            if got == "step":
                step = msgspec.convert(content, list[Delta])
                self.steps.append(step)
                for delta in step:
                    self.by_id.setdefault(delta.request_id, []).append(delta)
            if got == "death":
                self._death = content
                if kind == "step":
                    pytest.fail(f"{content}:\n{self.process.last_words()}")
            if got == kind:
                return content

    def close(self) -> None:
        """End an engine that no test has ended: idle, it stops without a trace."""
        try:
            if self._facts is not None and self.process.alive():
                assert self.stop() == []
                assert self.process.popen.returncode == 0
                # and SGLang's sigterm_watchdog, which waits for it, did not end the process instead
                assert self.deferred_ran
        finally:
            self.process.stop(wait_s_max=PATIENCE_S)
            self._socket.close(0)


def generate(prompt: Sequence[int], *, request_id: str | None = None, **settings: Any) -> Generate:
    """A greedy request, unless told otherwise."""
    outer = {
        key: settings.pop(key)
        for key in ("stream", "priority", "routed_dp_rank", "deadline_unix_ms")
        if key in settings
    }
    sampling = Sampling(**{"max_new_tokens": 16, "temperature": 0.0, **settings})
    return Generate(
        request_id=request_id or uuid4().hex,
        model="m",
        token_ids=pack_tokens(prompt),
        sampling=sampling,
        **{"deadline_unix_ms": FAR_FUTURE_MS, **outer},
    )


def tokens_of(deltas: Sequence[Delta]) -> list[int]:
    """All ids of a request, checked to be gapless and to have exactly one end, the last."""
    ids: list[int] = []
    for delta in deltas:
        assert delta.start == len(ids)
        ids += unpack_tokens(delta.token_ids)
    assert [delta.end is not None for delta in deltas] == [False] * (len(deltas) - 1) + [True]
    return ids


def finish_of(deltas: Sequence[Delta]) -> Finished:
    end = deltas[-1].end
    assert isinstance(end, Finished), end
    return end


def failure_of(deltas: Sequence[Delta]) -> Failed:
    end = deltas[-1].end
    assert isinstance(end, Failed), end
    return end


@pytest.fixture(scope="session")
def make_request() -> Callable[..., Generate]:
    return generate


@pytest.fixture(scope="session")
def make_canary() -> Callable[..., Generate]:
    def make(number: int, **settings: Any) -> Generate:
        request_id = f"{CANARY_PREFIX}{number:020x}"
        return generate([1], request_id=request_id, max_new_tokens=1, **settings)

    return make


@pytest.fixture(scope="session")
def read() -> Any:
    """Readers of a request's deltas: `read.tokens`, `read.finish`, `read.failure`."""
    return type(
        "Read",
        (),
        {
            "tokens": staticmethod(tokens_of),
            "finish": staticmethod(finish_of),
            "failure": staticmethod(failure_of),
        },
    )


@pytest.fixture(scope="session")
def abort() -> Callable[[str], Any]:
    return Abort


@pytest.fixture(scope="session")
def python() -> "Callable[..., subprocess.CompletedProcess[str]]":
    """Runs a program that imports SGLang or transformers."""
    return run_with_sglang


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory, python: Callable[..., Any]) -> Path:
    directory = tmp_path_factory.mktemp("tiny_qwen3")
    done = python(str(HERE / "tiny_qwen3.py"), "build", str(directory))
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="session")
def greedy(
    model_dir: Path, python: Callable[..., Any]
) -> Callable[[list[list[int]], int], list[list[int]]]:
    """What transformers generates in float32."""

    def ask(prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        program = (str(HERE / "tiny_qwen3.py"), "greedy", str(model_dir), str(max_new_tokens))
        done = python(*program, given=json.dumps(prompts))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


@pytest.fixture(scope="session")
def start_engine(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EngineClient]:
    def start(*argv: str) -> EngineClient:
        client = EngineClient(argv, tmp_path_factory.mktemp("e") / "log")
        keep(client.close)
        return client

    return start


@pytest.fixture(scope="session")
def engine(model_dir: Path, start_engine: Callable[..., EngineClient]) -> EngineClient:
    """One rank, few running requests, so that a queue forms."""
    return start_engine(
        "--model-path", str(model_dir), "--dtype", "float32", "--max-running-requests", "8",
        "--served-model-name", "tiny,tiny-alias",
        "--max-total-tokens", "4096", "--random-seed", "1", "--log-level", "warning",
    )  # fmt: skip
