"""What a frontend process and its parent hold for each other where one of them reads nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from frontend.processes.child import Child
from frontend.processes.link import Link
from frontend.processes.messages import (
    UNREAD_BYTES_MAX,
    Leave,
    Tell,
    Told,
    heard,
    to_parent,
    to_process,
)

BODY = bytes(1024 * 1024)
COUNT = UNREAD_BYTES_MAX // len(BODY)
WAIT_S_MAX = 10.0

End = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def ends() -> AsyncIterator[list[End]]:
    """Those of a socket pair."""
    ends = [await asyncio.open_unix_connection(sock=each) for each in socket.socketpair()]
    yield ends
    for _, writer in ends:
        writer.transport.abort()
    await asyncio.sleep(0)


@pytest.fixture
async def link(ends: list[End]) -> AsyncIterator[Link]:
    """The process's side, at the first end."""
    link = Link(*ends[0])
    yield link
    await link.close()


@pytest.fixture
def child(ends: list[End]) -> Child:
    """The parent's side, at the first end, as if there were a process."""
    nobody: Any = None
    return Child(0, nobody, *ends[0])


async def read(end: End, decoder: Any, count: int) -> list[Any]:
    async with asyncio.timeout(WAIT_S_MAX):
        return [await heard(end[0], decoder) for _ in range(count)]


async def read_until(end: End, decoder: Any, last: object) -> int:
    """How many messages came before it."""
    count = 0
    async with asyncio.timeout(WAIT_S_MAX):
        while await heard(end[0], decoder) != last:
            count += 1
    return count


async def test_a_process_holds_little_for_a_parent_that_reads_nothing(
    link: Link, ends: list[End]
) -> None:
    for _ in range(4 * COUNT):
        link.tell("topic", BODY)
    assert await read(ends[1], to_parent, COUNT) == [Tell("topic", BODY)] * COUNT
    link.tell("topic", b"again")
    assert await read_until(ends[1], to_parent, Tell("topic", b"again")) <= 2


async def test_a_parent_holds_little_for_a_process_that_reads_nothing_and_tells_it_to_leave(
    child: Child, ends: list[End]
) -> None:
    for _ in range(4 * COUNT):
        child.send(Told("topic", BODY))
    child.send(Leave())
    assert COUNT <= await read_until(ends[1], to_process, Leave()) <= COUNT + 2
