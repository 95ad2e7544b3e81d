"""A generation by itself; what it does with workers is in tests/simulation and tests/fleet."""

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

from frontend.fleet.wakeup import Rounds, Send
from frontend.inflight.generation import Generation
from frontend.inflight.moved import Moved


class Client:
    """Holds what runs for it, which tells it what it gained: each leads to the other."""

    def __init__(self) -> None:
        dispatch: Any = SimpleNamespace(rounds=Rounds(asyncio.get_running_loop()))
        nobody: Any = None
        self.work = Generation(dispatch, nobody, nobody)

    def tell(self, moved: Moved) -> Send | None:
        raise AssertionError(moved)


async def test_what_was_closed_is_no_garbage_that_must_be_looked_for() -> None:
    client = Client()
    waiting = asyncio.create_task(client.work.advance(client.tell))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    client.work.close()
    gc.disable()
    try:
        ended = weakref.ref(client)
        del client, waiting
        assert ended() is None
    finally:
        gc.enable()
