"""Messages of an engine arrive in order, none is lost, and the loop's other work goes on between
them.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import zmq
import zmq.asyncio

from workers.sglang.seam.arrivals import Arrivals

MESSAGES = 300


class Pair:
    """A sender, and what reads it."""

    def __init__(self) -> None:
        self.sending: Any = zmq.Context()
        self.sender: Any = self.sending.socket(zmq.PUSH)
        port = self.sender.bind_to_random_port("tcp://127.0.0.1")
        self.receiving: Any = zmq.asyncio.Context()
        self.socket: Any = self.receiving.socket(zmq.PULL)
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def arrivals(self) -> Arrivals:
        return Arrivals(self.socket, lambda socket, flags: int(socket.recv(flags)))

    def send(self, number: int) -> None:
        self.sender.send(str(number).encode())

    def close(self) -> None:
        for socket in (self.sender, self.socket):
            socket.close(0)
        self.sending.term()
        self.receiving.term()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


async def test_what_is_there_already_and_what_comes_later_arrives_in_order(pair: Pair) -> None:
    for number in range(MESSAGES):
        pair.send(number)
    arrivals = pair.arrivals()
    assert [await arrivals.next() for _ in range(MESSAGES)] == list(range(MESSAGES))
    for number in range(MESSAGES):  # one at a time: each is waited for
        waiting = asyncio.ensure_future(arrivals.next())
        await asyncio.sleep(0)
        pair.send(number)
        assert await waiting == number
    arrivals.close()


async def test_messages_that_come_while_one_is_handled_wait_for_their_turn(pair: Pair) -> None:
    arrivals, came = pair.arrivals(), asyncio.Event()
    pair.send(0)
    assert await arrivals.next() == 0
    asyncio.get_running_loop().call_later(0.01, came.set)
    pair.send(1)
    pair.send(2)
    await came.wait()  # the edge came and went meanwhile
    assert [await arrivals.next(), await arrivals.next()] == [1, 2]
    arrivals.close()


async def test_other_work_goes_on_between_messages_that_are_there(pair: Pair) -> None:
    arrivals, turns, loop = pair.arrivals(), 0, asyncio.get_running_loop()

    def turn() -> None:
        nonlocal turns
        turns += 1
        loop.call_soon(turn)

    for number in range(MESSAGES):
        pair.send(number)
    assert await arrivals.next() == 0
    loop.call_soon(turn)
    for _ in range(MESSAGES - 1):
        await arrivals.next()
    assert turns >= MESSAGES - 2  # one between each two of those that were waited for here
    arrivals.close()


async def test_a_wait_that_is_cancelled_loses_nothing(pair: Pair) -> None:
    arrivals = pair.arrivals()
    waiting = asyncio.ensure_future(arrivals.next())
    await asyncio.sleep(0)
    waiting.cancel()
    pair.send(7)
    assert await arrivals.next() == 7
    arrivals.close()
