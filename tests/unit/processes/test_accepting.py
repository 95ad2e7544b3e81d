"""Connections are shared out among processes; here each "process" is an Accepting of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import cast

import pytest

from frontend.processes.accepting import PATIENCE_S, Accepting
from frontend.processes.standing import ALL_THAT_WAIT, Standing, level

WAIT_S_MAX = 30.0

PATIENT_S = 60.0
"""Whoever's turn it is not waits for longer than a test takes, however busy the machine is."""


class Port:
    """A listener, and what takes its connections."""

    def __init__(self, stack: ExitStack, count: int) -> None:
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
        self.standing = Standing(Standing.made(count), count)
        self.taken: list[int] = []
        self._stack = stack
        self._changed = asyncio.Event()

    def accepting(
        self, number: int, models: Callable[[], int] = lambda: 1, *, patience_s: float = PATIENT_S
    ) -> Accepting:
        """What takes connections for a process."""
        listener = self._stack.enter_context(self.listener.dup())
        accepting = Accepting(listener, self.standing, number, models, patience_s=patience_s)
        self._stack.callback(accepting.close)
        accepting.begin(lambda: _Protocol(number, self._on_taken, accepting.note_gone, self._stack))
        return accepting

    async def connect(self) -> None:
        """A connection of a client, which stays."""
        client = self._stack.enter_context(socket.socket())
        client.settimeout(0)
        address = self.listener.getsockname()
        await asyncio.get_running_loop().sock_connect(client, address)

    async def until_taken(self, count: int) -> None:
        """Wait until so many connections were taken."""
        async with asyncio.timeout(WAIT_S_MAX):
            while len(self.taken) < count:
                await self._changed.wait()
                self._changed.clear()

    def _on_taken(self, number: int) -> None:
        self.taken.append(number)
        self._changed.set()


class _Protocol(asyncio.Protocol):
    def __init__(
        self,
        number: int,
        on_taken: Callable[[int], None],
        on_gone: Callable[[], None],
        stack: ExitStack,
    ) -> None:
        self._number, self._on_taken, self._on_gone = number, on_taken, on_gone
        self._stack = stack

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._on_taken(self._number)
        self._stack.callback(cast("asyncio.Transport", transport).abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_gone()


@pytest.fixture
async def stack() -> AsyncIterator[ExitStack]:
    """What closes everything in the end."""
    with ExitStack() as stack:
        yield stack
    await asyncio.sleep(0)  # transports close a turn later


async def test_few_long_connections_are_dealt_one_each(stack: ExitStack) -> None:
    port = Port(stack, 2)
    for number in range(2):
        port.accepting(number)
    for index in range(8):
        await port.connect()
        await port.until_taken(index + 1)
    assert (port.taken.count(0), port.taken.count(1)) == (4, 4)


async def test_many_at_once_are_all_taken(stack: ExitStack) -> None:
    port = Port(stack, 2)
    for number in range(2):
        port.accepting(number, patience_s=PATIENCE_S)
    await asyncio.gather(*(port.connect() for _ in range(200)))
    await port.until_taken(200)
    assert {0, 1} == set(port.taken)


async def test_who_hangs_keeps_nobody_waiting(stack: ExitStack) -> None:
    port = Port(stack, 2)
    port.standing.take_part(0, connections=0, models=1)
    port.accepting(1, patience_s=PATIENCE_S)
    for index in range(4):
        await port.connect()
        await port.until_taken(index + 1)
    assert port.taken == [1] * 4


async def test_who_lacks_a_model_leaves_connections_to_who_has_it(stack: ExitStack) -> None:
    port = Port(stack, 2)
    models = [0]
    without = port.accepting(0, lambda: models[0])
    port.accepting(1)
    for index in range(4):
        await port.connect()
        await port.until_taken(index + 1)
    assert port.taken == [1] * 4
    models[0] = 1
    without.note_models()
    for index in range(4, 8):
        await port.connect()
        await port.until_taken(index + 1)
    assert port.taken[4:] == [0] * 4


def test_whose_turn_it_is() -> None:
    standing = Standing(Standing.made(3), 3)
    assert standing.share(0, 1) == ALL_THAT_WAIT  # nobody else is there
    standing.take_part(0, connections=5, models=1)
    standing.take_part(1, connections=3, models=1)
    assert (standing.share(0, 1), standing.share(1, 1)) == (0, 1)
    assert (standing.share(0, 10), standing.share(1, 10)) == (4, 6)
    standing.take_part(2, connections=0, models=0)
    assert (standing.share(1, 1), standing.share(2, 1)) == (1, None)
    standing.leave(1)
    assert standing.share(0, 1) == ALL_THAT_WAIT


@pytest.mark.parametrize(
    ("heights", "more", "reached"),
    [([0], 3, 3), ([0, 0], 1, 1), ([1, 0], 1, 1), ([5, 3, 0], 4, 4), ([5, 3, 0], 12, 7)],
)
def test_level(heights: list[int], more: int, reached: int) -> None:
    assert level(heights, more) == reached
