"""Workers that join: what they share while their models are made ready."""

import asyncio
import gc
import weakref
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from frontend.mesh.joining import Joining
from frontend.models.served import ServedModel
from frontend.routing.admission import AdmissionQueue
from kv_events.index import BlockBudget
from protocol.membership import Capacity, CardFile, Hello, ModelCard
from protocol.replies import FileChunk
from protocol.requests import FetchFile, Refused, Welcome

CAPACITY = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=1)


class Bench:
    """Joining with workers whose files are handed over by hand, one file each, and tokenizers that
    load when they are let.
    """

    def __init__(self) -> None:
        self.registry = Registry(lambda: cast("AdmissionQueue", SimpleNamespace(room=lambda: None)))
        self.said: list[tuple[str, str]] = []
        """Holds who was told what: its name and that of the message."""
        self.may_load = asyncio.Event()
        wire: Any = SimpleNamespace(send=self._send, tell=self._say)
        self.joining = Joining(
            self.registry,
            wire,
            self._prepare,
            _nobody_is_asked,
            welcome=Welcome("frontend"),
            on_joined=lambda _: None,
        )

    def begin(self, name: str) -> Worker:
        file = CardFile("tokenizer.json", sha256(name.encode()).hexdigest(), len(name))
        card = ModelCard(name, context_length=8, vocab_size=8, eos_token_ids=[0], files=[file])
        hello = Hello(name, 1, "text", "dyn://n.c.e", card, CAPACITY, 1)
        worker = Worker(name.encode(), hello, 0.0, BlockBudget(100))
        self.registry.connect(worker)
        self.joining.begin(worker)
        return worker

    def send_file(self, worker: Worker) -> None:
        [file] = worker.hello.card.files
        self.joining.take_chunk(
            worker.identity, FileChunk(file.sha256, 0, file.size_bytes, worker.identity)
        )

    async def _prepare(self, hello: Hello, request: Any, _: Any) -> ServedModel:
        [file] = hello.card.files
        assert await request(file).content() == hello.worker_id.encode()
        await self.may_load.wait()
        return ServedModel(hello.card, None, {})  # type: ignore[arg-type]

    def _send(self, worker: Worker, message: Any) -> bool:
        return self._say(worker.identity, message)

    def _say(self, identity: bytes, message: Any) -> bool:
        self.said.append((identity.decode(), type(message).__name__))
        return True


async def _nobody_is_asked(*_: Any) -> Any:
    raise AssertionError


async def settled() -> None:
    """Returns when everybody has gone as far as they can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_file_that_has_come_is_not_under_way_while_its_model_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("frontend.mesh.joining.FETCHES_MAX", 1)
    bench = Bench()
    first = bench.begin("first")
    await settled()
    bench.begin("early")  # a file is under way
    await settled()
    bench.send_file(first)
    late = bench.begin("late")
    await settled()
    assert bench.said == [
        ("first", FetchFile.__name__),
        ("early", Refused.__name__),
        ("late", FetchFile.__name__),
    ]
    bench.send_file(late)
    bench.may_load.set()
    await settled()
    assert sorted(bench.said[3:]) == [("first", Welcome.__name__), ("late", Welcome.__name__)]


@pytest.mark.parametrize("when", ["at once", "while its file is under way"])
async def test_nothing_is_kept_of_a_worker_that_leaves(when: str) -> None:
    bench = Bench()
    others = asyncio.all_tasks()
    worker = bench.begin("hasty")
    [task] = [weakref.ref(task) for task in asyncio.all_tasks() - others]
    if when != "at once":
        await settled()
    bench.joining.give_up(worker)
    await settled()
    gc.collect()
    assert task() is None
    await bench.joining.close()
