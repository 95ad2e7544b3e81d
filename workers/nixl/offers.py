"""A worker that made encodings offers them to be read out of its memory, in place of frames."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from protocol.media_plane import Encodings, Offer, Taken
from workers.nixl.arena import Arena, Span
from workers.nixl.memory import Memory

log = logging.getLogger(__name__)

OFFERED_BYTES_MIN: Final[Mapping[bool, int]] = {False: 16 * 1024 * 1024, True: 2 * 1024 * 1024}
"""Maps whether frames are encrypted to what an answer must have to be offered: less is there sooner
in frames, at no more expense (bench/gpu/media/planes.py).
"""

LEASE_S_MAX: Final = 10.0
"""Bounds how long an offer holds its memory for a reader, which is to read for half of that. One
that says nothing is sent frames then, and counts as lost. If it lives and reads on, it is not
told that what it read is right.
"""

GO_ON_S: Final = 0.001
"""Is how often readers are let on while there are any, where they need this worker's help."""

Send = Callable[[Encodings], bool]
"""Sends an answer in frames, or one without data, and tells whether it could."""


@dataclass(slots=True)
class _Lease:
    answer: Encodings | None
    """Is what was offered; None once it was sent in frames."""
    span: Span
    timer: asyncio.TimerHandle | None = None


class Offers:
    """Offers are all that other workers may read at the moment.

    Args:
        on_less: called whenever they are fewer.
        keyed: frames are encrypted.
    """

    def __init__(self, memory: Memory, on_less: Callable[[], None], *, keyed: bool) -> None:
        self._memory = memory
        self._bytes_min = OFFERED_BYTES_MIN[keyed]
        self._on_less = on_less
        self._leases: dict[int, _Lease] = {}
        """Maps each lease to what it holds. Bounded by the memory's arena."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._going_on = False

    def __len__(self) -> int:
        return len(self._leases)

    def offer(self, answer: Encodings, reads_in: str, send: Send) -> bool:
        """Offers an answer, if who asks can read here, and it is worth it, and there is room.

        Returns:
            False if not: the caller sends it. Else it will be sent, as an offer, or in frames.
        """
        if not reads_in or reads_in != self._memory.place:
            return False
        size_bytes = sum(len(each.data) for each in answer.encodings)
        if size_bytes < self._bytes_min:
            return False
        span = self._memory.arena.lend(size_bytes)
        if span is None:
            return False
        lease_id = 1 + secrets.randbits(62)
        self._leases[lease_id] = _Lease(answer, span)
        self._run(self._make(lease_id, answer, span, send))
        return True

    def take(self, taken: Taken, send: Send) -> None:
        """Takes what somebody says of an offer, and answers."""
        lease = self._leases.get(taken.lease)
        match taken.outcome:
            case "ended":
                self._end(taken.lease)
            case _ if lease is None or lease.answer is None:
                send(Encodings(taken.request_id, failure="what was offered is not kept any more"))
            case "read":
                send(Encodings(lease.answer.request_id, granted=taken.lease))
                self._end(taken.lease)
            case "failed":
                send(lease.answer)
                self._end(taken.lease)
            case "late":
                send(lease.answer)
                lease.answer = None  # and the span is kept, which is still being read

    def close(self) -> None:
        """Ends all offers; the memory stays as it is."""
        for lease_id in list(self._leases):
            self._end(lease_id)
        for task in self._tasks:
            task.cancel()

    async def _make(self, lease_id: int, answer: Encodings, span: Span, send: Send) -> None:
        agent, arena = self._memory.agent, self._memory.arena
        assert agent is not None, "a place has an agent"
        try:
            await self._memory.call(lambda: _copy(answer, arena, span))
        except Exception:
            log.exception("encodings of request %s cannot be offered", answer.request_id)
            self._end(lease_id)
            send(answer)
            return
        heads = [replace(each, data=b"") for each in answer.encodings]
        sizes = [len(each.data) for each in answer.encodings]
        offer = Offer(lease_id, agent.told, arena.address_of(span), sizes)
        lease = self._leases.get(lease_id)
        if lease is None:
            return  # closed meanwhile
        loop = asyncio.get_running_loop()
        lease.timer = loop.call_later(LEASE_S_MAX, self._expire, lease_id, send)
        if not send(replace(answer, encodings=heads, offer=offer)):
            self._end(lease_id)
        elif not self._going_on:
            self._going_on = True
            self._run(self._go_on())

    async def _go_on(self) -> None:
        """Lets readers get on as long as there are any."""
        agent = self._memory.agent
        assert agent is not None, "a place has an agent"
        try:
            while self._leases:
                await self._memory.call(agent.go_on)
                await asyncio.sleep(GO_ON_S)
        except Exception:
            log.exception("NIXL does not go on")
        finally:
            self._going_on = False

    def _expire(self, lease_id: int, send: Send) -> None:
        answer = self._leases[lease_id].answer
        if answer is not None:
            send(answer)
        self._end(lease_id)

    def _end(self, lease_id: int) -> None:
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return
        if lease.timer is not None:
            lease.timer.cancel()
        self._memory.arena.give_back(lease.span)
        self._on_less()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _copy(answer: Encodings, arena: Arena, span: Span) -> None:
    """Copies all data of an answer into a span, in a thread; other threads run meanwhile."""
    room = np.frombuffer(arena.bytes_of(span), np.uint8)
    at = 0
    for each in answer.encodings:
        room[at : at + len(each.data)] = np.frombuffer(each.data, np.uint8)
        at += len(each.data)
