"""A log whose lines leave together, and one that waits for nothing where that matters."""

import asyncio
import io
import logging
import threading

import pytest

from protocol.process import gathered_lines
from protocol.process.gathered_lines import GatheredLines


class Stream(io.StringIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def log(stream: Stream) -> logging.Logger:
    made = logging.Logger("gathered", logging.INFO)
    made.addHandler(GatheredLines(stream))
    return made


def gather(log: logging.Logger) -> None:
    (handler,) = log.handlers
    assert isinstance(handler, GatheredLines)
    handler.gather(asyncio.get_running_loop())


def test_without_a_loop_each_line_leaves_at_once(log: logging.Logger, stream: Stream) -> None:
    log.info("one")
    log.info("two")
    assert stream.writes == ["one\n", "two\n"]


async def test_lines_of_a_turn_leave_together(log: logging.Logger, stream: Stream) -> None:
    gather(log)
    for turn in (1, 2):
        log.info("one %d", turn)
        log.info("two %d", turn)
        assert len(stream.writes) == turn - 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert stream.writes == ["one 1\ntwo 1\n", "one 2\ntwo 2\n"]


async def test_a_warning_waits_for_nothing_and_passes_nobody(
    log: logging.Logger, stream: Stream
) -> None:
    gather(log)
    log.info("before")
    log.warning("now")
    assert stream.writes == ["before\nnow\n"]


async def test_another_thread_writes_by_itself(log: logging.Logger, stream: Stream) -> None:
    gather(log)
    log.info("before")
    thread = threading.Thread(target=log.info, args=("now",))
    thread.start()
    thread.join()
    assert stream.writes == ["before\nnow\n"]


async def test_what_waits_is_bounded(
    log: logging.Logger, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered_lines, "HELD_MAX", 3)
    gather(log)
    for number in range(7):
        log.info("%d", number)
    assert stream.writes == ["0\n1\n2\n", "3\n4\n5\n"]


def test_what_a_loop_has_left_is_written_at_the_end(log: logging.Logger, stream: Stream) -> None:
    async def say() -> None:
        gather(log)
        log.info("last")

    loop = asyncio.new_event_loop()
    loop.run_until_complete(say())
    loop.close()
    log.handlers[0].flush()
    log.info("behind the loop")
    assert "".join(stream.writes) == "last\nbehind the loop\n"
