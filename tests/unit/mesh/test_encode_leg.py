"""Pictures are encoded by another worker than the one that runs the request: who is told what, and
that all of it ends together.
"""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from frontend.fleet.encoders import ENCODE
from frontend.fleet.model_entry import DECODE, PREFILL, WHOLE
from frontend.fleet.worker import Worker
from frontend.mesh import doubts
from protocol.encoding import Encode, Encoded
from protocol.errors import EncoderLost, EngineFault, InvalidRequest, Overloaded, WorkerLost
from protocol.generation import Finished, Generate
from protocol.media import PromptMedia
from protocol.replies import Delta, Failed, StepBatch
from tests.unit.mesh.dispatch_bench import CAPACITY, Bench

PICTURES = [
    PromptMedia("image", b"first", 1, at=1, tokens=2),
    PromptMedia("image", b"second", 2, at=4, tokens=2),
]
LARGE = replace(CAPACITY, requests_running_max=64)
MADE = Encoded(1, 1, 2_000, 64)


class Seeing(Bench):
    """A frontend of workers that fetch, one of which runs whole requests unless `legs`."""

    def __init__(self, *, legs: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.encoder = self.join("e", ENCODE, encoder="x")
        names = {"p": PREFILL, "d": DECODE} if legs else {"w": WHOLE}
        self.workers = {
            name: self.join(name, stage, encoder="x", fetches=True, credit=64, capacity=LARGE)
            for name, stage in names.items()
        }

    async def see(self, **options: Any) -> Any:
        return await self.place(media=PICTURES, **options)

    def end(self, worker: Worker, request_id: str, end: Any) -> None:
        """A worker says how a leg ended, which may be over for us."""
        self.dispatch.take_step(worker, StepBatch([Delta(request_id, 0, b"", end)]))

    @property
    def left(self) -> list[int]:
        """The sizes of all that could leak."""
        return [
            len(self.dispatch._placed),
            len(self.dispatch._helping),
            *(len(each.bookings) for each in (self.encoder, *self.workers.values())),
            self.encoder.ranks[0].requests,
            len(self.encoder.suspects),
        ]


@pytest.fixture
async def bench() -> Seeing:
    return Seeing()


@pytest.fixture
async def pair() -> Seeing:
    return Seeing(legs=True)


async def test_pictures_go_to_the_encoder_and_their_address_to_who_runs_them(
    bench: Seeing,
) -> None:
    stream = await bench.see()
    (first, request), (second, encode) = bench.sent
    assert (first, second) == ("w", "e")
    assert isinstance(request, Generate)
    assert isinstance(encode, Encode)
    assert (request.encoded_at, [each.data for each in request.media]) == ("tcp://e", [b"", b""])
    assert (encode.media, encode.fetches) == (PICTURES, 1)
    assert encode.request_id == request.request_id == stream.request_id
    assert (stream.worker_id, stream.fetches_from) == ("w", "e")


@pytest.mark.parametrize(
    "media",
    [
        [],
        [PromptMedia("image", b"x", 1, tokens=0)],
        [*PICTURES, PromptMedia("video", b"x", 3, tokens=2)],
    ],
    ids=["none", "of unknown size", "a video too"],
)
async def test_what_cannot_be_encoded_apart_is_sent_as_it_is(
    bench: Seeing, media: list[PromptMedia]
) -> None:
    stream = await bench.place(media=media)
    [(name, request)] = bench.sent
    assert (name, request.encoded_at, request.media) == ("w", "", media)
    assert stream.fetches_from == ""


async def test_who_does_not_fetch_gets_the_pictures() -> None:
    bench = Bench()
    bench.join("e", ENCODE, encoder="x")
    bench.join("w", encoder="x")
    await bench.place(media=PICTURES)
    assert [(name, sent.media) for name, sent in bench.sent] == [("w", PICTURES)]


async def test_two_legs_and_those_who_fetch_of_them() -> None:
    for fetching, fetches in (("pd", 2), ("p", 1)):
        bench = Bench()
        bench.join("e", ENCODE, encoder="x")
        # generations are of one card; who does not fetch is a plain worker of it
        for name, stage in (("p", PREFILL), ("d", DECODE)):
            bench.join(name, stage, encoder="x", fetches=name in fetching)
        await bench.place(media=PICTURES)
        sent = dict(bench.sent)
        assert sent["e"].fetches == fetches
        assert {name: bool(sent[name].encoded_at) for name in "pd"} == {
            name: name in fetching for name in "pd"
        }
        assert [each.data for each in sent["d"].media] == (
            [b"", b""] if fetches == 2 else [b"first", b"second"]
        )


async def test_an_encoder_that_is_through_is_no_part_of_the_request_any_more(
    bench: Seeing,
) -> None:
    stream = await bench.see()
    bench.end(bench.encoder, stream.request_id, MADE)
    assert bench.left == [1, 0, 0, 1, 0, 0]
    bench.dispatch.fail_all(bench.encoder, "died")
    assert not stream.ended
    bench.give(bench.workers["w"], stream.request_id, 9, Finished("length", 8, 9))
    assert stream.finished is not None
    assert (bench.left, bench.aborted()) == ([0] * 6, [])


async def test_an_answer_may_end_before_its_encoder_is_heard(bench: Seeing) -> None:
    stream = await bench.see()
    bench.give(bench.workers["w"], stream.request_id, 9, Finished("length", 8, 9))
    assert stream.finished is not None
    assert (bench.left, bench.aborted()) == ([0] * 6, ["e"])
    bench.end(bench.encoder, stream.request_id, MADE)
    bench.end(bench.encoder, stream.request_id, Failed("overloaded", "full"))
    assert stream.error is None


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (Failed("invalid_value", "damaged", "messages[0]"), InvalidRequest),
        (Failed("overloaded", "full"), Overloaded),
        (Failed("engine_fault", "broken"), EngineFault),
        (Finished("stop", 1, 1), EngineFault),  # no such answer was asked for
    ],
)
@pytest.mark.parametrize("legs", [False, True])
async def test_what_an_encoder_fails_with_ends_the_request(
    end: Any, error: type[Exception], *, legs: bool
) -> None:
    bench = Seeing(legs=legs)
    stream = await bench.see()
    bench.end(bench.encoder, stream.request_id, end)
    assert isinstance(stream.error, error)
    assert stream.lost_on == "e"
    assert set(bench.workers) <= set(bench.aborted())
    assert not any(bench.left)
    for worker in bench.workers.values():  # what they say of it now is ignored
        bench.end(worker, stream.request_id, Failed(EncoderLost.code, "no pictures"))
    assert isinstance(stream.error, error)


@pytest.mark.parametrize("legs", [False, True])
async def test_a_lost_encoder_has_the_request_move(*, legs: bool) -> None:
    bench = Seeing(legs=legs)
    stream = await bench.see()
    bench.dispatch.fail_all(bench.encoder, "died")
    assert isinstance(stream.error, WorkerLost)
    assert (stream.lost_on, stream.error.bystander) == ("e", False)
    assert set(bench.workers) <= set(bench.aborted())
    assert not any(bench.left)


async def test_who_is_lost_before_the_pictures_are_encoded_cannot_have_died_of_them(
    bench: Seeing,
) -> None:
    """The encoder's word of it may be on its way; all it says is in order."""
    waiting, late, begun = [await bench.see() for _ in range(3)]
    bench.end(bench.encoder, begun.request_id, MADE)
    bench.dispatch.fail_all(bench.workers["w"], "died")
    assert (bench.left, bench.aborted().count("e")) == ([0] * 6, 2)
    bench.end(bench.encoder, late.request_id, MADE)
    for request_id in (late.request_id, waiting.request_id):
        bench.end(bench.workers["w"], request_id, Finished("abort", 0, 0))  # which wakes, and knows
    bench.end(bench.encoder, waiting.request_id, Finished("abort", 0, 0))
    assert [await each.error.doubt for each in (waiting, late)] == [True, False]
    assert (begun.error.doubt, begun.error.bystander) == (None, False)
    assert not bench.dispatch._doubts


async def test_an_encoder_that_says_nothing_more_had_not_encoded(
    bench: Seeing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "DOUBT_S_MAX", 0.01)
    stream = await bench.see()
    bench.dispatch.fail_all(bench.workers["w"], "died")
    assert await stream.error.doubt
    assert not bench.dispatch._doubts


async def test_a_doubt_is_over_when_its_client_leaves(bench: Seeing) -> None:
    stream = await bench.see()
    bench.dispatch.fail_all(bench.workers["w"], "died")
    assert bench.dispatch._doubts
    stream.error.doubt.cancel()  # as whoever awaits it does
    await asyncio.sleep(0)
    assert not bench.dispatch._doubts


async def test_who_does_not_fetch_may_have_died_though_pictures_are_still_encoded() -> None:
    bench = Bench()
    bench.join("e", ENCODE, encoder="x")
    bench.join("p", PREFILL, encoder="x", fetches=True)
    seeing = bench.join("d", DECODE, encoder="x")
    stream = await bench.place(media=PICTURES)
    bench.dispatch.fail_all(seeing, "died")
    assert (stream.error.bystander, stream.error.doubt) == (False, None)


@pytest.mark.parametrize("name", ["p", "d"])
async def test_a_lost_leg_ends_the_others(pair: Seeing, name: str) -> None:
    stream = await pair.see()
    pair.dispatch.fail_all(pair.workers[name], "died")
    assert (stream.lost_on, "e" in pair.aborted()) == (name, True)
    assert not any(pair.left)


@pytest.mark.parametrize("name", ["w", "p", "d"])
async def test_who_cannot_fetch_says_so_of_the_encoder(name: str) -> None:
    bench = Seeing(legs=name != "w")
    stream = await bench.see()
    bench.end(bench.encoder, stream.request_id, MADE)
    bench.end(bench.workers[name], stream.request_id, Failed(EncoderLost.code, "no way"))
    assert isinstance(stream.error, EncoderLost)
    assert stream.lost_on == "e"
    assert not any(bench.left)
    assert (await bench.see()).fetches_from == ""  # there is no other encoder
    bench.join("e2", ENCODE, encoder="x")
    assert (await bench.see()).fetches_from == "e2"


@pytest.mark.parametrize("legs", [False, True])
async def test_an_abort_reaches_all(*, legs: bool) -> None:
    bench = Seeing(legs=legs)
    stream = await bench.see()
    bench.dispatch.abort(stream)
    assert sorted(bench.aborted()) == sorted(["e", *bench.workers])
    assert not any(bench.left)


async def test_an_abort_behind_the_encoding_does_not_reach_the_encoder(bench: Seeing) -> None:
    stream = await bench.see()
    bench.end(bench.encoder, stream.request_id, MADE)
    bench.dispatch.abort(stream)
    assert (bench.aborted(), bench.left) == (["w"], [0] * 6)


@pytest.mark.parametrize("deaf", ["e", "d"])
@pytest.mark.parametrize("legs", [False, True])
async def test_whoever_cannot_be_sent_its_leg_is_the_one_to_avoid(*, legs: bool, deaf: str) -> None:
    bench = Seeing(legs=legs)
    bench.full = {deaf}
    stream = await bench.see()
    if not legs and deaf == "d":
        assert not stream.ended
        return
    assert isinstance(stream.error, Overloaded)
    assert stream.lost_on == deaf
    assert not any(bench.left)


async def test_a_suspect_is_one_to_its_encoder_too_until_it_is_through(bench: Seeing) -> None:
    first = await bench.see(alone=True)
    second = asyncio.ensure_future(bench.see(alone=True))
    await asyncio.sleep(0)
    assert bench.encoder.suspects == {first.request_id}
    bench.end(bench.encoder, first.request_id, MADE)
    assert not bench.encoder.suspects
    bench.give(bench.workers["w"], first.request_id, 9, Finished("length", 8, 9))
    assert (await second).fetches_from == "e"
