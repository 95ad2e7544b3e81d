"""A batch of texts over a mesh that answers only when the test says so."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.inflight.embeddings import IN_FLIGHT_MAX, PER_RANK, Embeddings
from frontend.inflight.migration import Trail
from frontend.inflight.poison import PoisonList
from frontend.mesh.dispatch import Offer
from frontend.routing.route import RouteRequest
from protocol.embedding import Embed, Embedded
from protocol.errors import (
    EngineFault,
    InvalidRequest,
    MeshError,
    PoisonRequest,
    RequestAborted,
    WorkerLost,
)
from protocol.generation import Finished, Generate, Sampling
from protocol.replies import Delta, Failed


class QuietMesh:
    """Keeps what is sent and what is aborted."""

    def __init__(self) -> None:
        self.streams: dict[str, RequestStream] = {}
        self.offers: list[Offer] = []
        self.aborted: list[str] = []

    async def place(self, entry: Any, offer: Offer, wakeup: Wakeup) -> RequestStream:
        self.offers.append(offer)
        stream = self.streams[offer.request.request_id] = RequestStream(
            offer.request.request_id, wakeup, SimpleNamespace(rank=SimpleNamespace(worker_id="w"))
        )  # type: ignore[arg-type]
        return stream

    def abort(self, stream: RequestStream) -> None:
        if not stream.ended:
            self.aborted.append(stream.request_id)

    def end(self, request_id: str, end: Embedded | Failed | Finished | None = None) -> None:
        """The vector of a text is its name unless something else is said."""
        self.streams[request_id].push(
            Delta(request_id, 0, b"", end or Embedded(request_id.encode(), 1))
        )


class Mover:
    """Sends a lost text again, under another name."""

    def __init__(self, mesh: QuietMesh) -> None:
        self.mesh = mesh
        self.moved: list[str] = []
        self.error: MeshError | None = None

    def check(self, request: Embed) -> None: ...

    async def move(self, entry: Any, lost: Any, trail: Any, wakeup: Wakeup) -> RequestStream:
        if self.error is not None:
            raise self.error
        self.moved.append(lost.request.request_id)
        stream = self.mesh.streams["again " + lost.request.request_id] = RequestStream(
            lost.request.request_id, wakeup, SimpleNamespace(rank=SimpleNamespace(worker_id="w"))
        )  # type: ignore[arg-type]
        return stream


class Bench:
    def __init__(self, texts: int, ranks: int = 1) -> None:
        self.mesh = QuietMesh()
        self.mover = Mover(self.mesh)
        entry: Any = SimpleNamespace(ranks=[None] * ranks)
        self.embeddings = Embeddings(self.mesh, entry, self.mover)  # type: ignore[arg-type]
        self.names = [f"text {number}" for number in range(texts)]
        requests = [(Embed(name, "m", b"1234", 1), RouteRequest(b"1234")) for name in self.names]
        self.task = asyncio.create_task(self.embeddings.run(requests))

    async def turn(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    @property
    def unfinished(self) -> list[str]:
        return [name for name, stream in self.mesh.streams.items() if not stream.ended]


async def test_vectors_come_back_in_order_whatever_order_they_are_made_in() -> None:
    bench = Bench(100)
    while not bench.task.done():
        await bench.turn()
        for name in reversed(bench.unfinished):
            bench.mesh.end(name)
    assert [vector.vector.decode() for vector in bench.task.result()] == bench.names
    assert not bench.mesh.aborted


@pytest.mark.parametrize(
    ("ranks", "bound"), [(1, PER_RANK), (3, 3 * PER_RANK), (1_000, IN_FLIGHT_MAX)]
)
async def test_no_more_are_under_way_than_the_ranks_are_given(ranks: int, bound: int) -> None:
    bench = Bench(2_000, ranks)
    await bench.turn()
    assert len(bench.unfinished) == bound
    bench.mesh.end("text 0")
    await bench.turn()
    assert len(bench.unfinished) == bound
    assert [offer.admitted for offer in bench.mesh.offers] == [False] + [True] * bound
    bench.task.cancel()


async def test_what_runs_is_aborted_when_nobody_waits_for_it() -> None:
    bench = Bench(10)
    await bench.turn()
    bench.mesh.end("text 3")
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task
    assert set(bench.mesh.aborted) == set(bench.names) - {"text 3"}


async def test_the_failure_of_one_is_that_of_all() -> None:
    bench = Bench(10)
    await bench.turn()
    bench.mover.error = InvalidRequest("too long", param="input")
    bench.mesh.end("text 3", Failed("invalid_value", "too long", "input"))
    with pytest.raises(InvalidRequest, match="too long"):
        await bench.task
    assert set(bench.mesh.aborted) == set(bench.names) - {"text 3"}


@pytest.mark.parametrize(
    ("reason", "error"), [("abort", RequestAborted), ("stop", EngineFault), ("length", EngineFault)]
)
async def test_a_text_that_ends_without_its_vector_is_a_failure(
    reason: Any, error: type[MeshError]
) -> None:
    """Aborted it was by an operator of its worker: what a client aborts is heard of no more."""
    bench = Bench(2)
    await bench.turn()
    bench.mesh.end("text 0", Finished(reason, 1, 0))
    with pytest.raises(error):
        await bench.task
    assert bench.mesh.aborted == ["text 1"]
    assert not bench.mover.moved


async def test_nothing_new_is_sent_while_a_text_moves() -> None:
    bench = Bench(100)
    await bench.turn()
    bench.mesh.streams["text 0"].fail(WorkerLost("gone", cause="died"))
    await bench.turn()
    assert bench.mover.moved == ["text 0"]
    for name in bench.names[1:PER_RANK]:
        bench.mesh.end(name)
    await bench.turn()
    assert bench.unfinished == ["again text 0"]
    bench.mesh.streams["again text 0"].push(Delta("text 0", 0, b"", Embedded(b"text 0", 1)))
    await bench.turn()
    assert len(bench.unfinished) == PER_RANK
    while not bench.task.done():
        for name in bench.unfinished:
            bench.mesh.end(name)
        await bench.turn()
    assert [vector.vector.decode() for vector in bench.task.result()] == bench.names


def test_a_text_goes_on_as_it_was() -> None:
    trail = Trail()
    trail.lose("died", b"", worker_id="w0", answers_again=lambda _: False, moves_max=3)
    text = Embed("0" * 32, "m", b"1234", 1, lora_name="a", second_text_at=1)
    assert trail.go_on(text, "1" * 32) == replace(text, request_id="1" * 32)
    assert trail.alone


def test_the_twin_of_a_text_that_kills_is_refused() -> None:
    poison, text = PoisonList(), Embed("0" * 32, "m", b"1234", 1)
    poison.add(text, now=0.0)
    with pytest.raises(PoisonRequest):
        poison.check(replace(text, request_id="1" * 32), now=1.0)
    poison.check(replace(text, token_ids=b"4321"), now=1.0)
    poison.check(Generate("0" * 32, "m", b"1234", Sampling(1), 1), now=1.0)
