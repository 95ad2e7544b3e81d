"""Messages of a turn leave together, and none waits long for the others."""

import asyncio
from typing import Final

import pytest

from protocol.transport import gathered_writes
from protocol.transport.gathered_writes import GatheredWrites

STEP_S: Final = gathered_writes.WAIT_S_MAX / 3.5


class Clock:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_what_is_added_in_a_turn_leaves_at_its_end_in_one_write() -> None:
    written: list[bytes] = []
    gathered = GatheredWrites(written.append)
    for number in range(3):
        gathered.add(b"%d" % number)
    assert not written
    await asyncio.sleep(0)
    assert written == [b"012"]
    await asyncio.sleep(0)
    assert written == [b"012"]


async def test_a_long_turn_does_not_keep_what_was_added_at_its_beginning() -> None:
    written: list[bytes] = []
    clock = Clock()
    gathered = GatheredWrites(written.append, now_s=clock)
    for number in range(16):
        gathered.add(b"%x" % number)
        clock.now_s += STEP_S
    assert written == [b"01234", b"56789", b"abcde"]
    await asyncio.sleep(0)
    assert b"".join(written) == b"0123456789abcdef"


async def test_what_is_worth_a_write_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered_writes, "WRITTEN_BYTES", 10)
    written: list[bytes] = []
    gathered = GatheredWrites(written.append, now_s=Clock())
    gathered.add(b"x" * 10)
    assert not written
    gathered.add(b"y")
    assert written == [b"x" * 10 + b"y"]
    gathered.leave()
    assert len(written) == 1
