"""A worker that fetches encodings reads what it is offered, and asks whether it lay there until
then.
"""

import asyncio
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, cast

from msgspec.structs import replace

from protocol.media import Encoding
from protocol.media_plane import Encodings, Offer, Taken
from workers.nixl.agent import ReadFailed
from workers.nixl.arena import Arena, Span
from workers.nixl.memory import Memory

log = logging.getLogger(__name__)

READ_S_MAX: Final = 5.0
"""Bounds how long a read may take, after which the same comes in frames: the whole arena over
common Ethernet takes half of it.
"""

GRANT_S_MAX: Final = 10.0
"""Bounds how long what was read waits for the word that it is right. Then it counts as not read, so
that who waits for it hears of it: `workers.encoding.fetching` alone would be told that an answer
is on its way.
"""

READS_MAX: Final = 64
"""Bounds the reads under way, late ones among them: as many as workers that one fetches from."""

POLL_S: Final = 0.001
LATE_POLL_S: Final = 0.25
"""Is how often what is late is looked at, which nobody waits for."""

RESTS_S: Final = 60.0
"""Is how long a worker is not read from after it could not be: containers that share a host may
each see less of it than they think.
"""

Tell = Callable[[Taken], None]
"""Tells the worker that made an offer what became of it."""


@dataclass(slots=True)
class _Ungranted:
    read: Encodings
    timer: asyncio.TimerHandle


class Reads:
    """Reads are what is on its way from the memory of other workers.

    Args:
        on_read: takes what was read, and is right.
    """

    def __init__(self, memory: Memory, on_read: Callable[[Encodings], None]) -> None:
        self._memory = memory
        self._on_read = on_read
        self._ungranted: dict[int, _Ungranted] = {}
        """Maps a lease to what was read of it. Bounded by the memory's arena."""
        self._resting: dict[str, float] = {}
        """Maps the addresses of workers that could not be read from to when they may be again."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = False

    def place_for(self, address: str) -> str:
        """Returns the place in whose memory the worker at an address may have this one read; empty
        if it is to send frames.
        """
        return "" if address in self._resting else self._memory.place

    def take(self, address: str, answer: Encodings, tell: Tell) -> None:
        """Takes an answer that is an offer, or the word about what was read of one."""
        if answer.offer is None:
            self._granted(answer)
            return
        span = None
        if self._memory.agent is not None and len(self._tasks) < READS_MAX:
            span = self._memory.arena.lend(answer.offer.size_bytes)
        if span is None:
            tell(Taken(answer.request_id, answer.offer.lease, "failed"))
            return
        task = asyncio.get_running_loop().create_task(
            self._read(address, answer, answer.offer, span, tell)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Gives up all that waits; the memory stays as it is, which may still be written."""
        for task in self._tasks:
            task.cancel()
        for each in self._ungranted.values():
            each.timer.cancel()
        self._ungranted.clear()

    async def _read(
        self, address: str, answer: Encodings, offer: Offer, span: Span, tell: Tell
    ) -> None:
        """Reads an offer into a span, which nobody else has until nothing is written there."""

        def said(outcome: Literal["read", "failed", "late", "ended"]) -> None:
            tell(Taken(answer.request_id, offer.lease, outcome))

        loop = asyncio.get_running_loop()
        agent, begun_at = self._memory.agent, loop.time()
        assert agent is not None, "only what has an agent begins"
        late = False
        try:
            transfer = await self._memory.call(lambda: agent.read(offer.agent, offer.address, span))
            while not await self._memory.call(transfer.done):
                if not late and loop.time() - begun_at > READ_S_MAX:
                    late = True
                    self._rest(address, "it takes too long")
                    said("late")
                await asyncio.sleep(LATE_POLL_S if late else POLL_S)
        except ReadFailed as error:
            self._memory.arena.give_back(span)
            if not late:
                self._rest(address, str(error))
            said("ended" if late else "failed")
            return
        except Exception:
            # whether something still writes is unknown, so the span is nobody's any more
            log.exception("encodings of request %s cannot be read", answer.request_id)
            said("ended" if late else "failed")
            return
        if late:
            self._memory.arena.give_back(span)
            said("ended")
            return
        self._note(answer, offer, loop.time() - begun_at)
        read = _filled(answer, offer, self._memory.arena, span)

        def give_up() -> None:
            del self._ungranted[offer.lease]
            said("failed")

        timer = loop.call_later(GRANT_S_MAX, give_up)
        self._ungranted[offer.lease] = _Ungranted(read, timer)
        said("read")

    def _granted(self, answer: Encodings) -> None:
        waiting = self._ungranted.pop(answer.granted, None)
        if waiting is not None:
            waiting.timer.cancel()
            self._on_read(waiting.read)

    def _rest(self, address: str, why: str) -> None:
        log.warning("encodings at %s come in frames for a while: %s", address, why)
        if address not in self._resting:
            loop = asyncio.get_running_loop()
            self._resting[address] = loop.time()
            loop.call_later(RESTS_S, self._resting.pop, address, None)

    def _note(self, answer: Encodings, offer: Offer, seconds: float) -> None:
        """Logs a read; the first one where everybody sees it."""
        level, self._told = logging.DEBUG if self._told else logging.INFO, True
        log.log(
            level,
            "the encodings of request %s were read from memory: %d bytes in %.1f ms",
            answer.request_id,
            offer.size_bytes,
            1_000 * seconds,
        )


def _filled(answer: Encodings, offer: Offer, arena: Arena, span: Span) -> Encodings:
    """Returns an answer with what was read, as views of the span, which is given back when there
    are none any more.
    """
    lasting = arena.lasting_bytes_of(span)
    weakref.finalize(lasting, arena.give_back, span).atexit = False
    data = memoryview(lasting).cast("B")
    encodings: list[Encoding] = []
    at = 0
    for each, size in zip(answer.encodings, offer.sizes, strict=True):
        encodings.append(replace(each, data=cast("bytes", data[at : at + size])))
        at += size
    return replace(answer, encodings=encodings, offer=None)
