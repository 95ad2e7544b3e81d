"""A request whose cache was not handed over goes on with another pair of workers, and others keep
to those too.
"""

import asyncio
from itertools import count

import pytest
from prometheus_client import CollectorRegistry

from frontend.fleet.model_entry import DECODE, PREFILL, WHOLE
from frontend.fleet.partings import APART_S, VAIN_S
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.inflight.migration import Trail
from frontend.inflight.recovery import Lost, Recovery
from frontend.mesh.offer import Offer
from frontend.observe.loss_metrics import LossMetrics
from frontend.routing.route import RouteRequest
from protocol.errors import EngineFault, HandoverFailed, MeshError
from protocol.generation import Finished, Generate, Sampling
from protocol.replies import Failed
from protocol.tokens import pack_tokens
from tests.unit.mesh.dispatch_bench import Bench

FAILED = Failed(HandoverFailed.code, "not handed over")
PROMPT = pack_tokens(range(8))


class Fleet(Bench):
    """Workers, and what becomes of requests of which a hand-over failed."""

    def __init__(self) -> None:
        super().__init__()
        ids = (f"{number:032x}" for number in count(1_000))
        self.counts = CollectorRegistry()
        self.trail = Trail()
        self.passed_s = 0.0
        """Is what went by in waits, beside what the clock says."""
        self.recovery = Recovery(
            self.dispatch,
            LossMetrics(self.counts, "dynamo_frontend"),
            moves_max=3,
            new_request_id=lambda: next(ids),
            now=self.now,
        )

    def now(self) -> float:
        return self.loop.time() + self.passed_s

    def pairs(self, *names: str) -> None:
        """Workers of either stage: those that compute prompts begin with p."""
        for name in names:
            self.join(name, PREFILL if name.startswith("p") else DECODE, credit=64)

    async def fails(
        self, stream: RequestStream, on: str, waited_s: float = 0.0, *, meanwhile: bool = False
    ) -> RequestStream:
        """One of its workers says that the cache was not handed over, and the request moves.

        Args:
            meanwhile: it waited while the last one did.
        Raises:
            MeshError: what the request fails with instead.
        """
        self.passed_s += 0.0 if meanwhile else waited_s
        stream.sent_at = self.now() - waited_s
        worker = self.registry.serving(on)
        assert worker is not None
        self.give(worker, stream.request_id, 0, FAILED)
        assert stream.error is not None
        request = Generate(stream.request_id, "m", PROMPT, Sampling(9), 1)
        lost = Lost(request, RouteRequest(PROMPT), stream, b"", stream.error)
        moved = await self.recovery.move(self.entry, lost, self.trail, Wakeup(self.loop))
        assert moved is not None
        return moved

    def moves(self, outcome: str) -> float | None:
        labels = {"cause": "not_handed_over", "outcome": outcome}
        return self.counts.get_sample_value("kvmesh_frontend_migrations_total", labels)


@pytest.fixture
async def fleet() -> Fleet:
    return Fleet()


@pytest.mark.parametrize("side", ["prefill", "decode"])
async def test_a_request_goes_on_with_another_pair(fleet: Fleet, side: str) -> None:
    fleet.pairs("p1", "d1", "d2")
    stream = await fleet.place()
    assert stream.pair == ("p1", "d1")
    moved = await fleet.fails(stream, stream.pair[side == "decode"])
    assert moved.pair == ("p1", "d2")
    assert fleet.moves("moved") == 1
    assert not fleet.trail.alone  # nobody died of it


async def test_others_keep_to_other_pairs(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1", "d2")
    await fleet.fails(await fleet.place(), "d1")
    assert {(await fleet.place()).pair for _ in range(2)} == {("p1", "d2")}
    fleet.pairs("p2")
    found = {(await fleet.place(tokens=100 * number)).pair for number in range(1, 5)}
    assert ("p1", "d1") not in found
    assert ("p2", "d1") in found


async def test_who_insists_on_a_pair_has_it(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1", "d2")
    await fleet.fails(await fleet.place(), "d1")
    assert (await fleet.place(worker_id="d1", prefill_worker_id="p1")).pair == ("p1", "d1")


async def test_whoever_runs_all_of_it_comes_before_a_pair_that_is_kept_apart(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1")
    fleet.join("w", WHOLE)
    moved = await fleet.fails(await fleet.place(worker_id="d1"), "d1")
    assert moved.worker_id == "w"
    assert (await fleet.place()).worker_id == "w"


async def test_where_all_are_kept_apart_they_are_tried(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1")
    stream = await fleet.place()
    for _ in range(3):
        stream = await fleet.fails(stream, "p1")
    assert (await fleet.place()).pair == ("p1", "d1")
    with pytest.raises(HandoverFailed, match="may not reach each other"):
        await fleet.fails(stream, "p1")
    assert (fleet.moves("moved"), fleet.moves("handover_failed")) == (3, 1)


async def test_a_second_wait_in_vain_for_the_only_pair_is_the_last(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1")
    stream = await fleet.fails(await fleet.place(), "d1", VAIN_S)
    with pytest.raises(HandoverFailed, match="may not reach each other"):
        await fleet.fails(stream, "d1", VAIN_S)
    assert fleet.moves("handover_failed") == 1
    assert len(fleet.entry.queue) == 0


async def test_requests_that_waited_through_one_accident_have_a_second_try_each(
    fleet: Fleet,
) -> None:
    fleet.pairs("p1", "d1")
    streams = [await fleet.place() for _ in range(3)]
    for number, stream in enumerate(streams):
        fleet.trail = Trail()
        moved = await fleet.fails(stream, "d1", VAIN_S, meanwhile=number > 0)
        assert moved.pair == ("p1", "d1")
    assert fleet.moves("moved") == 3


async def test_a_pair_that_hands_others_over_is_tried_once_more(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1")
    stream, other = await fleet.place(), await fleet.place()
    stream = await fleet.fails(stream, "d1", VAIN_S)
    prefill = fleet.registry.serving("p1")
    assert prefill is not None
    fleet.give(prefill, other.request_id, 1, Finished("length", 8, 1))
    stream = await fleet.fails(stream, "d1", VAIN_S)
    assert stream.pair == ("p1", "d1")


async def test_a_request_waits_for_a_pair_that_has_no_room(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1")
    full = fleet.join("d2", DECODE, credit=1)
    [running] = [await fleet.place(worker_id="d2")]
    stream = await fleet.place()
    moving = asyncio.ensure_future(fleet.fails(stream, "d1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (moving.done(), len(fleet.entry.queue)) == (False, 1)
    fleet.give(full, running.request_id, 9, Finished("length", 8, 9))
    assert (await moving).pair == ("p1", "d2")


async def test_a_request_has_the_pair_again_that_others_have_no_room_for(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1")
    stream = await fleet.place()
    fleet.join("d2", DECODE, credit=1)
    await fleet.place(worker_id="d2")
    moving = asyncio.ensure_future(fleet.fails(stream, "d1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not moving.done()
    fleet.registry.partings.note(stream.pair, 0.0, fleet.loop.time() - APART_S)
    fleet.dispatch.let_hopes_try()  # with the next beat
    assert (await moving).pair == ("p1", "d1")


async def test_a_pair_of_which_one_is_gone_is_not_blamed(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.pairs("p1", "d1", "d2")
    stream = await fleet.place()
    decode = fleet.registry.serving("d1")
    assert decode is not None
    prefill = fleet.registry.serving("p1")
    assert prefill is not None
    fleet.give(prefill, stream.request_id, 0, FAILED)  # which the death of the other one explains
    fleet.registry.leave(decode)
    assert isinstance(stream.error, HandoverFailed)
    request = Generate(stream.request_id, "m", PROMPT, Sampling(9), 1)
    lost = Lost(request, RouteRequest(PROMPT), stream, b"", stream.error)
    await fleet.recovery.move(fleet.entry, lost, fleet.trail, Wakeup(fleet.loop))
    fleet.pairs("d1")
    assert not fleet.registry.partings.apart(fleet.loop.time())
    assert "no KV cache came over" not in caplog.text


async def test_who_comes_back_is_paired_with_everybody(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1", "d2")
    await fleet.fails(await fleet.place(), "d1")
    decode = fleet.registry.serving("d1")
    assert decode is not None
    fleet.registry.leave(decode)
    fleet.pairs("d1")
    assert not fleet.registry.partings.apart(fleet.loop.time())


def test_whoever_shuns_workers_keeps_nobody_waiting_who_does_not() -> None:
    request = Generate("a" * 32, "m", PROMPT, Sampling(9), 1)
    offer = Offer(request, RouteRequest(PROMPT))
    moved = Offer(request, RouteRequest(PROMPT), shuns=frozenset(("p1", "d1")))
    last = Offer(
        request,
        RouteRequest(PROMPT),
        shuns=frozenset(("p1", "d1")),
        parted=frozenset((("p1", "d1"),)),
    )
    assert len({offer.lane, moved.lane, last.lane}) == 3


async def test_what_an_engine_says_of_the_request_parts_nobody(fleet: Fleet) -> None:
    fleet.pairs("p1", "d1")
    stream = await fleet.place()
    prefill = fleet.registry.serving("p1")
    assert prefill is not None
    fleet.give(prefill, stream.request_id, 0, Failed(EngineFault.code, "broken"))
    request = Generate(stream.request_id, "m", PROMPT, Sampling(9), 1)
    assert stream.error is not None
    lost = Lost(request, RouteRequest(PROMPT), stream, b"", stream.error)
    with pytest.raises(MeshError, match="broken"):
        await fleet.recovery.move(fleet.entry, lost, fleet.trail, Wakeup(fleet.loop))
    assert not fleet.registry.partings.apart(fleet.loop.time())
