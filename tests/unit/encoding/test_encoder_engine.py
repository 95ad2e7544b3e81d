"""Pictures are encoded in batches, once each, and every request for them ends once."""

import asyncio
import gc
import weakref

from protocol.encoding import Encode, Encoded
from protocol.errors import DeadlineExceeded, EngineFault, InvalidRequest, WorkerLost
from protocol.generation import Finished
from protocol.replies import Failed
from tests.unit.encoding.encoder_bench import (
    BATCH_S,
    Connection,
    EncoderBench,
    FakeEncoder,
    made_of,
    named,
    on_virtual_time,
    picture,
)
from workers.encoding.engine import EARLY_MAX, KEPT_S_MAX
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
async def test_those_of_a_grid_get_no_data_and_all_that_fetch_are_waited_for() -> None:
    bench = await EncoderBench().started()
    fetched: list[int] = []
    bench.engine.on_fetched = lambda: fetched.append(bench.engine.owed)
    bench.submit(1, 5, fetches=2)
    await bench.end_of(1)
    whole = bench.fetch(1)
    assert (whole.digests, bench.engine.owed, fetched) == ([[5]], 1, [])
    grid = bench.fetch(1, grids_only=True)
    [[encoding]] = [answer.encodings for answer in grid.heard]
    assert (encoding.holds, encoding.grid, encoding.data) == ("grid", (1, 1, 2), b"")
    assert fetched == [0]


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
async def test_who_fetches_waits_as_long_as_a_batch_takes() -> None:
    bench = await EncoderBench().started()
    bench.encoder.batch_s = 20 * KEPT_S_MAX
    connection = bench.fetch(1)
    bench.submit(1, 1)
    while not bench.ends[named(1)]:
        await asyncio.sleep(2.0)
        bench.fetch(1, connection)
    assert connection.failures == []
    assert connection.digests == [[1]]


@on_virtual_time
async def test_who_asks_again_is_not_sent_twice_what_is_on_its_way() -> None:
    bench = await EncoderBench().started()
    bench.submit(1, 1)
    await bench.end_of(1)
    connection = bench.fetch(1)
    bench.fetch(1, connection)
    assert connection.pending == [False, True]


@on_virtual_time
async def test_who_lost_the_answer_with_the_connection_gets_it_again() -> None:
    bench = await EncoderBench().started()
    bench.submit(1, 1)
    await bench.end_of(1)
    lost, again = bench.fetch(1), bench.fetch(1)
    assert lost.digests == again.digests == [[1]]


@on_virtual_time
async def test_what_is_fetched_and_not_kept_is_refused_at_once() -> None:
    bench = await EncoderBench(cache_bytes=0).started()
    bench.submit(1, 1)
    await bench.end_of(1)
    assert bench.fetch(1).digests == [[1]]
    assert bench.fetch(1).failures == ["they were fetched, and are not kept any more"]


@on_virtual_time
async def test_what_finds_no_room_in_a_connection_is_given_to_who_asks_again() -> None:
    bench = await EncoderBench(cache_bytes=0).started()
    bench.submit(1, 1)
    await bench.end_of(1)
    connection = Connection([], open=False)
    bench.fetch(1, connection)
    assert bench.engine.owed == 1
    connection.open = True
    assert bench.fetch(1, connection).digests == [[1]]


@on_virtual_time
async def test_what_nobody_fetches_is_given_up_after_a_while() -> None:
    bench = await EncoderBench(cache_bytes=0).started()
    bench.submit(1, 1)
    await bench.end_of(1)
    await asyncio.sleep(KEPT_S_MAX)
    assert bench.tables == EMPTY
    late = bench.fetch(1)
    assert late.pending == [True]
    await asyncio.sleep(KEPT_S_MAX)
    assert late.failures == ["nobody asked for these pictures"]
    assert bench.tables == EMPTY


@on_virtual_time
async def test_strangers_requests_are_bounded() -> None:
    bench = await EncoderBench().started()
    for number in range(EARLY_MAX):
        connection = bench.fetch(number)
        bench.fetch(number, connection)
    over = bench.fetch(EARLY_MAX)
    assert over.failures == ["too many requests are unknown here"]
    assert bench.tables == [0, EARLY_MAX, EARLY_MAX, 0, 0, 0]


@on_virtual_time
async def test_neither_pictures_nor_what_was_fetched_are_held() -> None:
    """Else who sends pictures and leaves would have them held for half a minute each."""
    bench = await EncoderBench(FakeEncoder(batch_max=1), cache_bytes=0).started()
    bench.encoder.size = 1_000
    bench.fetch(1)
    for number in (1, 2, 3):
        bench.submit(number, number)
    await asyncio.sleep(BATCH_S / 2)
    bench.engine.abort(named(3))
    [order, *others] = bench.engine._orders.values()
    assert all(not each.data for each in order.request.media)
    assert await bench.end_of(2)
    assert not order.made
    assert [len(each.made) for each in others] == [1, 0]  # the second has not been fetched
    bench.fetch(2)
    assert not others[0].made


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


@on_virtual_time
async def test_encodings_are_freed_when_the_last_who_needs_them_has_them() -> None:
    bench = await EncoderBench(cache_bytes=0).started()
    bench.submit(1, 1)
    await bench.end_of(1)
    [order] = bench.engine._orders.values()
    kept = weakref.ref(order)
    assert order.made == {1: made_of(1)}
    bench.fetch(1)
    assert order.made == {}
    del order
    await asyncio.sleep(KEPT_S_MAX)
    gc.collect()
    assert kept() is None
