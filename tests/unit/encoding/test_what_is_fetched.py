"""What was made of pictures is kept for those who fetch it, for as long as they need it."""

import asyncio
import gc
import weakref

from tests.unit.encoding.encoder_bench import (
    BATCH_S,
    Connection,
    EncoderBench,
    FakeEncoder,
    made_of,
    named,
    on_virtual_time,
)
from workers.encoding.engine import EARLY_MAX, EARLY_S_MAX, KEPT_S_MAX, OWED_S_MAX

EMPTY = [0, 0, 0, 0, 0, 0]


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
    assert bench.engine.owed == 1
    await asyncio.sleep(OWED_S_MAX)
    assert bench.engine.owed == 0  # who would leave does
    await asyncio.sleep(KEPT_S_MAX - OWED_S_MAX)
    assert bench.tables == EMPTY
    late = bench.fetch(1)
    assert late.pending == [True]
    await asyncio.sleep(EARLY_S_MAX)
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
