"""The pool takes so many texts and no more, and has threads while there is work."""

import asyncio
import threading

import pytest

from frontend.text.tokenizing import pool as pool_module
from frontend.text.tokenizing.pool import QUEUED_MAX, EncodePool
from protocol.errors import Overloaded


async def test_more_unfinished_texts_than_the_bound_are_turned_away_and_places_come_free() -> None:
    pool, gate = EncodePool(1), threading.Event()

    def wait() -> bytes:
        gate.wait()
        return b"done"

    waiting = [asyncio.ensure_future(pool.run(wait)) for _ in range(QUEUED_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await pool.run(wait)
    assert refused.value.retry_after_s == 1
    waiting[-1].cancel()
    gate.set()
    assert set(await asyncio.gather(*waiting[:-1])) == {b"done"}
    assert await pool.run(wait) == b"done"


async def test_a_pool_without_work_ends_its_threads_and_starts_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "REST_S", 0)
    pool = EncodePool(1)
    for _ in range(2):
        thread = await pool.run(threading.current_thread)
        await asyncio.to_thread(thread.join)


async def test_threads_stay_for_work_that_comes_while_they_rest() -> None:
    pool, gate = EncodePool(1), threading.Event()
    await pool.run(bytes)
    rest = pool._rest
    waiting = asyncio.ensure_future(pool.run(gate.wait))
    await asyncio.sleep(0)
    assert rest is not None
    assert rest.cancelled()  # else it would cancel what is queued behind this
    gate.set()
    assert await waiting
