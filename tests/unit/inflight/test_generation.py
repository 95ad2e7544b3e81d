"""A generation by itself; what it does with workers is in tests/simulation and tests/fleet."""

import asyncio
import gc
import weakref
from types import SimpleNamespace
from typing import Any

from frontend.fleet.wakeup import Rounds, Send
from frontend.inflight.generation import Generation
from frontend.inflight.moved import Moved
from protocol.generation import CachedBelow, Extras
from protocol.replies import Delta
from protocol.tokens import pack_tokens
from tests.unit.api.placed_choice import placed_choice


class Client:
    """Holds what runs for it, which tells it what it gained: each leads to the other."""

    def __init__(self) -> None:
        dispatch: Any = SimpleNamespace(
            rounds=Rounds(asyncio.get_running_loop()), abort=lambda _: None
        )
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


async def test_an_answer_that_its_client_ends_tells_where_its_cached_tokens_were() -> None:
    work, choice = Client().work, placed_choice()
    below = CachedBelow(8)
    first = Extras(cached_tokens=32, cached_below=below)
    choice.stream.push(Delta("r", 0, pack_tokens([1]), None, first))
    choice.advance()
    work.choices.append(choice)
    work._live.append(choice)
    assert work.abort()
    assert (choice.cached_tokens, choice.cached_below) == (32, below)
