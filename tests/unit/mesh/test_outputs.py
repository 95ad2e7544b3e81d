"""What workers made is fetched from them piece by piece."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from frontend.mesh.outputs import Outputs
from protocol.diffusion import (
    OUTPUT_CHUNK_BYTES_MAX,
    AskJobs,
    FetchOutput,
    Job,
    JobsTold,
    Output,
    OutputChunk,
    worker_tag,
)
from protocol.errors import WorkerLost

DATA = bytes(range(256)) * 3_000
"""Is three pieces, the last one not whole."""
TAG = worker_tag("a", 7)
OUTPUT = Output(TAG + "0" * 32, "png", len(DATA), 1, 1)
JOB = Job("1" * 32, "m", "queued", 1)


class Maker:
    """Is a worker that answers at once, unless told otherwise."""

    def __init__(self, service: str = "images") -> None:
        self.worker: Any = SimpleNamespace(
            worker_id="a", hello=SimpleNamespace(service=service, epoch=7)
        )
        registry: Any = SimpleNamespace(workers={b"a": self.worker})
        self.outputs = Outputs(registry, self._send, iter(map(str, range(10_000))).__next__)
        self.asked: list[FetchOutput | AskJobs] = []
        self.answers = self.reachable = True
        self.data = DATA

    def _send(self, _: Any, query: Any) -> bool:
        self.asked.append(query)
        if self.answers and self.reachable:
            self.answer(query)
        return self.reachable

    def answer(self, query: Any) -> None:
        if isinstance(query, AskJobs):
            self.outputs.take(self.worker, JobsTold(query.query_id, [JOB]))
            return
        piece = self.data[query.offset_bytes : query.offset_bytes + query.size_bytes]
        self.outputs.take(self.worker, OutputChunk(query.query_id, piece, OUTPUT))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


async def fetched(maker: Maker, first: int = 0, end: int = -1) -> bytes:
    return b"".join([piece async for piece in maker.outputs.pieces(OUTPUT, first, end)])


@pytest.mark.parametrize(
    ("first", "end"), [(0, -1), (0, 1), (5, 5), (7, 300_000), (len(DATA) - 1, -1), (0, 10**9)]
)
def test_all_of_an_output_comes_or_a_range_of_it(first: int, end: int) -> None:
    async def main() -> None:
        maker = Maker()
        assert await fetched(maker, first, end) == DATA[first : len(DATA) if end < 0 else end]
        assert all(each.size_bytes <= OUTPUT_CHUNK_BYTES_MAX for each in maker.asked)  # type: ignore[union-attr]

    run(main())


def test_whoever_stops_reading_asks_for_one_piece_more_at_most() -> None:
    async def main() -> None:
        maker = Maker()
        pieces = maker.outputs.pieces(OUTPUT)
        assert await anext(pieces) == DATA[:OUTPUT_CHUNK_BYTES_MAX]
        await asyncio.sleep(0)
        await pieces.aclose()  # type: ignore[attr-defined]
        assert len(maker.asked) <= 2

    run(main())


def test_a_worker_that_leaves_or_has_it_no_more_ends_the_fetch() -> None:
    async def main() -> None:
        maker = Maker()
        maker.answers = False
        fetching = asyncio.create_task(fetched(maker))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        maker.outputs.worker_left(maker.worker)
        with pytest.raises(WorkerLost):
            await fetching
        maker.answers, maker.data = True, b""
        with pytest.raises(WorkerLost):
            await fetched(maker)
        maker.reachable = False
        finding = asyncio.create_task(maker.outputs.find(OUTPUT.output_id))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        maker.outputs.worker_left(maker.worker)
        with pytest.raises(WorkerLost):
            await finding

    run(main())


def test_a_question_waits_until_there_is_room_for_it() -> None:
    async def main() -> None:
        maker = Maker()
        maker.reachable = False
        finding = asyncio.create_task(maker.outputs.find(OUTPUT.output_id))
        while len(maker.asked) < 2:
            await asyncio.sleep(0.01)
        maker.reachable = True
        assert await finding == OUTPUT

    run(main())


def test_an_output_is_found_by_the_worker_that_its_id_names() -> None:
    async def main() -> None:
        maker = Maker()
        assert await maker.outputs.find(OUTPUT.output_id) == OUTPUT
        assert await maker.outputs.find("f" * 48) is None
        assert len(maker.asked) == 1
        assert await Maker("text").outputs.find(OUTPUT.output_id) is None

    run(main())


def test_jobs_are_asked_of_every_worker_that_makes_media() -> None:
    async def main() -> None:
        maker = Maker("videos")
        assert await maker.outputs.all_jobs() == [JOB]
        maker.reachable = False
        assert await maker.outputs.all_jobs() == []

    run(main())


def test_an_answer_that_nobody_waits_for_is_ignored() -> None:
    async def main() -> None:
        maker = Maker()
        maker.outputs.take(maker.worker, OutputChunk("9"))
        maker.outputs.take(None, OutputChunk("9"))

    run(main())
