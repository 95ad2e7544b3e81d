"""Offers of one worker and Reads of another one, on a clock that costs no time, with memory that is
really read and NIXL played by hand.
"""

import asyncio
import ctypes
from collections.abc import Callable, Sequence
from typing import TypeVar

from protocol.media import Encoding
from protocol.media_plane import (
    Encodings,
    Taken,
    decode_encodings,
    decode_question,
    encode_encodings,
    encode_question,
)
from workers.nixl.agent import ReadFailed
from workers.nixl.arena import Arena, Span
from workers.nixl.offers import Offers
from workers.nixl.reads import Reads

ADDRESS = "tcp://127.0.0.1:1"
PLACE = "here"
SIZE = 16_384

ResultT = TypeVar("ResultT")


class HandTransfer:
    """Has read when `after_s` have passed, what lies there then; or has failed."""

    def __init__(self, source: int, target: int, size: int, after_s: float, *, fails: bool) -> None:
        self._copy = (target, source, size)
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + after_s
        self._fails = fails

    def done(self) -> bool:
        if self._loop.time() < self._at:
            return False
        if self._fails:
            raise ReadFailed("the other side is gone")
        ctypes.memmove(*self._copy)
        return True


class HandAgent:
    """Attributes:
    takes_s: how long its next reads take.
    fails: they fail then.
    unreachable: they are refused at once.
    helped: how often it let others on.
    """

    told = b"agent"

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.takes_s = 0.0
        self.fails = self.unreachable = False
        self.helped = 0

    def read(self, peer: bytes, address: int, into: Span) -> HandTransfer:
        assert peer == self.told
        if self.unreachable:
            raise ReadFailed("no way there")
        target = self._arena.address_of(into)
        return HandTransfer(address, target, into.size_bytes, self.takes_s, fails=self.fails)

    def go_on(self) -> None:
        self.helped += 1


class HandMemory:
    """A Memory without a thread."""

    def __init__(self, size_bytes: int, place: str = PLACE) -> None:
        self.arena = Arena(size_bytes)
        self.hand = HandAgent(self.arena)
        self.agent = self.hand
        self.place = place
        self.closed = False

    async def call(self, what: Callable[[], ResultT]) -> ResultT:
        await asyncio.sleep(0)
        return what()

    def close(self) -> None:
        self.closed = True


def numbered(number: int, size: int = SIZE) -> Encodings:
    """What was made for a request: two pictures that no other has."""
    half = bytes([number % 251]) * (size // 2)
    return Encodings(
        f"{number:032x}",
        [Encoding("vectors", (1, 1, 4), 4, data=half + b"x" * at) for at in (0, 4)],
    )


class Plane:
    """Two workers and the way between them.

    Attributes:
        delays_s: of the messages each way, in turn; 0 once they are spent.
        answered: what the fetching one got in the end.
        frames: of which requests the data came in frames.
        said: what it said of offers.
        less: how often the encoder was told that fewer are held.
    """

    def __init__(self, encoder_bytes: int = 1 << 20, fetcher_bytes: int = 1 << 20) -> None:
        self.encoder, self.fetcher = HandMemory(encoder_bytes), HandMemory(fetcher_bytes)
        self.delays_s: list[float] = []
        self.answered: list[Encodings] = []
        self.frames: list[str] = []
        self.said: list[str] = []
        self.less = 0
        self.offers = Offers(self.encoder, self._note_less, keyed=False)
        self.reads = Reads(self.fetcher, self.answered.append)

    def send(self, answer: Encodings) -> bool:
        """From the encoder."""
        frames = encode_encodings(answer)
        self._later(lambda: self._arrive(decode_encodings([bytes(each) for each in frames])))
        return True

    def tell(self, taken: Taken) -> None:
        """From the fetching worker."""
        self.said.append(taken.outcome)
        frames = encode_question(taken)

        def arrive() -> None:
            question = decode_question(frames)
            assert isinstance(question, Taken)
            self.offers.take(question, self.send)

        self._later(arrive)

    def of(self, number: int) -> list[Encodings]:
        """What came of a request."""
        return [each for each in self.answered if each.request_id == f"{number:032x}"]

    def _arrive(self, answer: Encodings) -> None:
        if answer.offer is not None or answer.granted:
            self.reads.take(ADDRESS, answer, self.tell)
            return
        if answer.encodings:
            self.frames.append(answer.request_id)
        self.answered.append(answer)

    def _later(self, what: Callable[[], None]) -> None:
        delay_s = self.delays_s.pop(0) if self.delays_s else 0.0
        asyncio.get_running_loop().call_later(delay_s, what)

    def _note_less(self) -> None:
        self.less += 1


def same(answers: Sequence[Encodings], number: int) -> bool:
    """Whether a request has exactly one answer, which is about its own pictures."""
    return [each.encodings for each in answers] == [numbered(number).encodings]
