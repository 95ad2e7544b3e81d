"""Pictures are encoded in batches, once each, and every request for them ends once."""

import asyncio

from protocol.encoding import Encode, Encoded
from protocol.errors import DeadlineExceeded, EngineFault, InvalidRequest, WorkerLost
from protocol.generation import Finished
from protocol.replies import Failed
from tests.unit.encoding.encoder_bench import (
    BATCH_S,
    EncoderBench,
    named,
    on_virtual_time,
    picture,
)
from workers.encoding.engine import KEPT_S_MAX
from workers.engine import CANARY_PREFIX

EMPTY = [0, 0, 0, 0, 0, 0]


@on_virtual_time
async def test_pictures_go_in_batches_across_requests_and_each_once() -> None:
    bench = await EncoderBench().started()
    connections = [bench.fetch(number) for number in range(3)]  # before their requests are here
    for number, digests in enumerate([(1,), (2, 1, 2), (3, 4)]):
        bench.submit(number, *digests)
    ends = [await bench.end_of(number) for number in range(3)]
    assert bench.encoder.batches == [[1, 2], [3, 4]]
    assert [(end.made, end.kept, end.made_us, end.made_bytes) for end in ends] == [
        (1, 0, 1_000_000, 8),
        (1, 1, 1_000_000, 24),
        (2, 0, 1_000_000, 16),
    ]
    assert [each.digests for each in connections] == [[[1]], [[2, 1, 2]], [[3, 4]]]
    assert bench.engine.owed == 0
    await asyncio.sleep(KEPT_S_MAX)
    assert bench.tables == EMPTY


@on_virtual_time
async def test_what_was_encoded_before_is_there_at_once_in_a_later_turn() -> None:
    bench = await EncoderBench().started()
    bench.submit(1, 5)
    await bench.end_of(1)
    bench.submit(2, 5)
    assert not bench.ends[named(2)]
    assert await bench.end_of(2) == Encoded(0, 1, 0, 8)
    assert bench.encoder.batches == [[5]]
    bench.submit(3, 5)
    bench.engine.abort(named(3))
    assert await bench.end_of(3) == Finished("abort", 0, 0)


@on_virtual_time
async def test_a_picture_that_cannot_be_read_ends_those_that_have_it_alone() -> None:
    bench = await EncoderBench().started()
    bench.encoder.bad = {2}
    connections = [bench.fetch(number) for number in range(3)]
    for number, digests in enumerate([(1, 2), (2, 3), (1,)]):
        bench.submit(number, *digests)
    first, second, third = [await bench.end_of(number) for number in range(3)]
    assert first == Failed(InvalidRequest.code, "damaged", "part 1")
    assert second == Failed(InvalidRequest.code, "damaged", "part 0")
    assert isinstance(third, Encoded)
    assert bench.encoder.batches == [[1, 2]]  # nobody wants the third any more
    assert connections[2].digests == [[1]]


@on_virtual_time
async def test_who_fetches_what_failed_is_not_told_before_its_frontend_ends_it() -> None:
    """What the frontend hears first is why its request ends: from its encoder, that the client must
    change it, and not from who fetches, that a worker was lost.
    """
    bench = await EncoderBench().started()
    bench.encoder.bad = {1}
    connection = bench.fetch(1)
    bench.submit(1, 1)
    await bench.end_of(1)
    bench.fetch(1, connection)
    assert connection.pending == [True, True, True]
    assert connection.failures == []


@on_virtual_time
async def test_a_batch_that_breaks_ends_its_own_requests_and_the_next_one_goes_on() -> None:
    bench = await EncoderBench().started()
    bench.encoder.raises = RuntimeError("injected")
    bench.submit(1, 1, 2)
    bench.submit(2, 3)
    broken = await bench.end_of(1)
    assert broken == Failed(EngineFault.code, "The picture could not be encoded: injected")
    assert isinstance(await bench.end_of(2), Encoded)


@on_virtual_time
async def test_an_answer_that_cannot_be_made_costs_nobody_else_theirs() -> None:
    bench = await EncoderBench().started()
    bench.submit(1, 1)
    bench.submit(2, 2)
    bench.submit(3, 3)
    bench.fetch(1).broken = True
    well = [bench.fetch(2), bench.fetch(3)]
    assert isinstance(await bench.end_of(3), Encoded)
    assert [each.digests for each in well] == [[[2]], [[3]]]


@on_virtual_time
async def test_an_abort_ends_once_and_spares_the_encoder_what_nobody_wants() -> None:
    bench = await EncoderBench().started()
    bench.submit(1, 1)
    bench.submit(2, 2, 3)
    await asyncio.sleep(BATCH_S / 2)  # 1 and 2 are being encoded
    for number in (1, 2, 2):
        bench.engine.abort(named(number))
    bench.engine.abort(named(9))
    assert [await bench.end_of(number) for number in (1, 2)] == [Finished("abort", 0, 0)] * 2
    await asyncio.sleep(BATCH_S)
    assert bench.encoder.batches == [[1, 2]]
    bench.submit(4, 1)
    bench.engine.abort(named(1))
    assert await bench.end_of(4) == Encoded(0, 1, 0, 8)
    bench.engine.abort(named(4))  # crossed with its end
    await asyncio.sleep(KEPT_S_MAX + BATCH_S)
    assert all(len(ends) == 1 for ends in bench.ends.values() if ends)
    assert bench.tables == EMPTY


@on_virtual_time
async def test_what_waits_beyond_its_deadline_is_not_encoded() -> None:
    bench = await EncoderBench().started()
    bench.submit(1, 1, 2)
    bench.submit(2, 3, deadline_unix_ms=1_500)
    bench.unix_ms = 1_501
    end = await bench.end_of(2)
    assert end == Failed(DeadlineExceeded.code, "The pictures could not be encoded in time.")
    assert bench.encoder.batches == [[1, 2]]


@on_virtual_time
async def test_canaries_are_answered_after_the_batch_and_ended_when_they_are_aborted() -> None:
    bench = await EncoderBench().started()
    canary, other = (CANARY_PREFIX + named(number) for number in (8, 9))
    bench.engine.submit(Encode(canary, "m", [picture(77)], 2_000, fetches=0))
    while not bench.ends[canary]:
        await asyncio.sleep(BATCH_S / 4)
    assert isinstance(bench.ends[canary][0], Encoded)
    bench.submit(1, 1)
    await asyncio.sleep(BATCH_S / 2)
    for each in (canary + "x", other):
        bench.engine.submit(Encode(each, "m", [picture(78)], 2_000, fetches=0))
    bench.engine.abort(other)
    await asyncio.sleep(0)
    assert bench.ends[other] == [Finished("abort", 0, 0)]
    assert not bench.ends[canary + "x"]
    await bench.end_of(1)
    assert bench.ends[canary + "x"] == [Finished("abort", 0, 0)]
    assert bench.encoder.batches == [[77], [1]]


@on_virtual_time
async def test_an_end_of_the_engine_ends_what_it_owes() -> None:
    bench = await EncoderBench().started()
    bench.submit(1, 1)
    bench.submit(2, 2, 3)
    bench.submit(3, 1)
    bench.fetch(7)
    await asyncio.sleep(BATCH_S * 1.5)
    assert bench.engine.loads()[0].requests_running == 1
    await bench.engine.stop()
    assert (await bench.end_of(2)).code == WorkerLost.code
    await bench.engine.kill()
    await asyncio.sleep(2 * KEPT_S_MAX)
    assert {request_id: len(ends) for request_id, ends in bench.ends.items() if ends} == {
        named(number): 1 for number in (1, 2, 3)
    }
    assert bench.encoder.stopped
