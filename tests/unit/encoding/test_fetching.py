"""A request waits for its encodings, for as long as somebody says that they come."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from protocol.embedding import Embed
from protocol.errors import EncoderLost
from protocol.generation import Finished, Generate, Sampling
from protocol.media_plane import Encodings, FetchEncodings
from tests.unit.encoding.encoder_bench import made_of, named, on_virtual_time, picture
from workers.encoding.fetching import ASK_AGAIN_S, UNANSWERED_MAX, Fetching

LOST_AFTER_S = ASK_AGAIN_S * UNANSWERED_MAX


class Plane:
    """Notes what is asked; answers nothing by itself."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, FetchEncodings]] = []
        self.heard: dict[str, float] = {}
        self.closed = False

    def ask(self, address: str, fetch: FetchEncodings) -> None:
        self.asked.append((address, fetch))

    def heard_at(self, address: str) -> float:
        return self.heard.get(address, 0.0)

    def close(self) -> None:
        self.closed = True


class Bench:
    """A Fetching before an engine that notes what it is given."""

    def __init__(self) -> None:
        self.submitted: list[Any] = []
        self.aborted: list[str] = []
        self.ends: list[tuple[str, Any]] = []
        self.fetching = Fetching(self)
        self.fetching.deliver = lambda deltas: self.ends.extend(
            (each.request_id, each.end) for each in deltas
        )
        self.plane = self.fetching.plane = Plane()

    def submit(self, request: Any) -> None:
        self.submitted.append(request)

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)

    def ask(self, number: int, *digests: int, at: str = "tcp://e") -> Generate:
        media = [replace(picture(each), data=b"") for each in digests]
        request = Generate(named(number), "m", b"1234", Sampling(4), 1, media=media, encoded_at=at)
        self.fetching.submit(request)
        return request

    def answer(self, number: int, *digests: int, at: str = "tcp://e", **fields: Any) -> None:
        self.plane.heard[at] = asyncio.get_running_loop().time()
        made = [made_of(each) for each in digests]
        self.fetching.on_answer(Encodings(named(number), made, **fields))

    @property
    def left(self) -> int:
        return len(self.fetching._waiting)


@on_virtual_time
async def test_what_is_complete_goes_on_at_once() -> None:
    bench = Bench()
    for request in (
        Generate(named(1), "m", b"1234", Sampling(4), 1, media=[picture(1)]),
        Embed(named(2), "m", b"1234", 1),
    ):
        bench.fetching.submit(request)
    assert [each.request_id for each in bench.submitted] == [named(1), named(2)]
    bench.fetching.abort(named(1))
    assert (bench.aborted, bench.plane.asked) == ([named(1)], [])


@pytest.mark.parametrize("grids_only", [False, True])
def test_encodings_take_the_places_of_their_pictures(*, grids_only: bool) -> None:
    @on_virtual_time
    async def lived() -> None:
        bench = Bench()
        bench.fetching.grids_only = grids_only
        request = bench.ask(1, 5, 6)
        assert bench.plane.asked == [("tcp://e", FetchEncodings(named(1), grids_only))]
        bench.answer(2, 5)  # nobody's
        bench.answer(1, pending=True)
        assert bench.submitted == []
        bench.answer(1, 5, 6)
        bench.answer(1, 7, 8)  # again
        media = [
            replace(each, encoding=made_of(digest))
            for each, digest in zip(request.media, (5, 6), strict=True)
        ]
        assert bench.submitted == [replace(request, media=media)]
        assert (bench.left, bench.ends) == (0, [])

    lived()


@on_virtual_time
async def test_a_request_waits_for_as_long_as_it_is_said_to_come() -> None:
    bench = Bench()
    bench.ask(1, 5)
    for _ in range(100):
        await asyncio.sleep(ASK_AGAIN_S)
        bench.answer(1, pending=True)
    assert (bench.left, bench.ends) == (1, [])
    assert len(bench.plane.asked) == 101
    bench.answer(1, 5)
    assert len(bench.submitted) == 1


@on_virtual_time
async def test_who_answers_nothing_is_lost_after_some_questions() -> None:
    bench = Bench()
    bench.ask(1, 5)
    bench.ask(2, 5, at="tcp://other")
    for _ in range(2 * UNANSWERED_MAX):
        await asyncio.sleep(ASK_AGAIN_S)
        bench.answer(2, at="tcp://other", pending=True)
    [(request_id, end)] = bench.ends
    assert (request_id, end.code) == (named(1), EncoderLost.code)
    assert "does not answer" in end.message
    asked = [address for address, _ in bench.plane.asked]
    assert (asked.count("tcp://e"), bench.left) == (UNANSWERED_MAX, 1)


@on_virtual_time
async def test_answers_to_others_say_that_the_worker_lives() -> None:
    """A large answer waits behind others of the same connection for longer than questions do."""
    bench = Bench()
    bench.ask(1, 5)
    for number in range(2, 20):
        await asyncio.sleep(ASK_AGAIN_S)
        bench.ask(number, 5)
        bench.answer(number, 5)
    assert bench.ends == []
    await asyncio.sleep(2 * LOST_AFTER_S)
    assert [request_id for request_id, _ in bench.ends] == [named(1)]


@on_virtual_time
async def test_what_the_other_worker_cannot_give_ends_the_request() -> None:
    bench = Bench()
    bench.ask(1, 5)
    bench.ask(2, 5, 6)
    bench.answer(1, failure="x" * 2_000)
    bench.answer(2, 5)
    await asyncio.sleep(0)
    codes = {request_id: end.code for request_id, end in bench.ends}
    assert codes == {named(1): EncoderLost.code, named(2): EncoderLost.code}
    assert all(len(end.message) <= 2_000 for _, end in bench.ends)
    assert bench.left == 0


@on_virtual_time
async def test_an_abort_ends_what_waits_in_a_later_turn_and_once() -> None:
    bench = Bench()
    bench.ask(1, 5)
    bench.fetching.abort(named(1))
    assert bench.ends == []
    await asyncio.sleep(0)
    assert bench.ends == [(named(1), Finished("abort", 0, 0))]
    bench.answer(1, 5)
    await asyncio.sleep(LOST_AFTER_S * 2)
    assert (bench.submitted, len(bench.ends), bench.aborted) == ([], 1, [])


@on_virtual_time
async def test_an_end_asks_no_more() -> None:
    bench = Bench()
    bench.ask(1, 5)
    bench.fetching.close()
    await asyncio.sleep(LOST_AFTER_S * 2)
    assert (bench.left, len(bench.plane.asked), bench.plane.closed) == (0, 1, True)
