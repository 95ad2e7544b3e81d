"""Pictures are encoded in batches across requests, once each, and kept until they are fetched."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from msgspec.structs import replace

from protocol.encoding import Encode, Encoded
from protocol.errors import DeadlineExceeded, EngineFault, WorkerLost
from protocol.generation import Finished
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.media import Encoding
from protocol.media_plane import Encodings, FetchEncodings
from protocol.membership import RankLoad
from protocol.replies import Delta, Failed
from protocol.requests import Work
from workers.encoding.encoder import Encoder
from workers.encoding.jobs import Job, Jobs
from workers.encoding.orders import Order, Reply
from workers.encoding.shelf import Shelf
from workers.engine import CANARY_PREFIX, Deliver, EngineFacts, OnDeath

log = logging.getLogger(__name__)

KEPT_S_MAX: Final = 30.0
"""Bounds how long what was made waits for those who need it, who ask as soon as their request
arrives. However long a picture waits to be encoded, they wait with it.
"""

EARLY_S_MAX: Final = 10.0
"""Bounds how long those who fetch wait for their request to arrive here, which brings all pictures
along: the largest take less over 50 Mbit/s. A worker that was started anew at the address of one
that died is asked for what nobody will ask it to encode.
"""

OWED_S_MAX: Final = 5.0
"""Bounds how long a worker that leaves stays for the sake of what nobody fetches: who needs it asks
at once, and every two seconds; of a request that has ended meanwhile it hears nothing.
"""

EARLY_MAX: Final = 4_096
"""Bounds the fetchers that ask before the frontend does: the requests that a frontend may have."""


class EncoderEngine:
    """An EncoderEngine is an encoder of pictures as an Engine: what it makes is fetched from it, by
    `fetch`.

    Args:
        cache_bytes: of what was made before and may be wanted again.
        unix_ms: wall clock, against which deadlines are meant.
    Attributes:
        on_fetched: called whenever `owed` is less.
    """

    def __init__(self, encoder: Encoder, *, cache_bytes: int, unix_ms: Callable[[], float]) -> None:
        self._encoder = encoder
        self._unix_ms = unix_ms
        self._shelf = Shelf(cache_bytes)
        self._jobs = Jobs()
        self._orders: dict[str, Order] = {}
        """Maps a request to its order, which is remembered for KEPT_S_MAX after its end. Bounded by
        the credit granted to frontends, and by what is asked for in that time.
        """
        self.on_fetched: Callable[[], None] = lambda: None
        self._owed: set[Order] = set()
        self._early: dict[str, dict[FetchEncodings, Reply]] = {}
        """Maps a request that has not come yet to those who fetch, by what they ask."""
        self._canaries: list[str] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._deliver: Deliver = _nobody
        self._running: asyncio.Task[None] | None = None

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts:
        """Starts the encoder; raises StartError where it cannot start."""
        self._deliver = deliver
        facts = await self._encoder.start(on_death)
        self._jobs.batch_max = facts.capacity.requests_running_max
        return replace(facts, encodings=self)

    def submit(self, request: Work) -> None:
        """Takes an Encode and returns at once; what ends it is delivered in a later turn."""
        assert isinstance(request, Encode), "a worker that encodes takes nothing else"
        if self._jobs.batch and request.request_id.startswith(CANARY_PREFIX):
            self._canaries.append(request.request_id)
            return
        order = self._orders[request.request_id] = Order(request)
        self._look_up(order)
        for picture in request.media:
            if picture.digest not in order.made:
                order.begun += self._jobs.add(picture, order)
        for fetch, reply in self._early.pop(request.request_id, {}).items():
            order.ask(fetch, reply)
        if order.complete:
            asyncio.get_running_loop().call_soon(self._end, order, 0)
        elif self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    def abort(self, request_id: str) -> None:
        """Stops an order at any stage; what is being encoded for it is kept all the same."""
        order = self._orders.get(request_id)
        if order is not None and not order.ended:
            self._jobs.leave(order)
            self._fail(order, Finished("abort", 0, 0))
        elif request_id in self._canaries:
            self._canaries.remove(request_id)
            asyncio.get_running_loop().call_soon(self._deliver, [_aborted(request_id)])

    def fetch(self, fetch: FetchEncodings, reply: Reply) -> None:
        """Answers a worker that needs what was made for a request, which may be still to come."""
        order = self._orders.get(fetch.request_id)
        if order is not None:
            if order.told:
                self._look_up(order)
            order.ask(fetch, reply)
            self._let_go(order)
        elif fetch.request_id in self._early:
            self._early[fetch.request_id][fetch] = reply
            reply(Encodings(fetch.request_id, pending=True))
        elif len(self._early) >= EARLY_MAX:
            reply(Encodings(fetch.request_id, failure="too many requests are unknown here"))
        else:
            early = self._early[fetch.request_id] = {fetch: reply}
            self._later(partial(self._forget_early, fetch.request_id, early), EARLY_S_MAX)
            reply(Encodings(fetch.request_id, pending=True))

    @property
    def owed(self) -> int:
        """Returns of how many requests all was made a moment ago, and not fetched yet by all who
        need it.
        """
        return len(self._owed)

    def loads(self) -> list[RankLoad]:
        """Returns how many pictures are being encoded, and how many wait."""
        waiting = self._jobs.waiting
        return [
            RankLoad(
                0,
                len(self._jobs.batch),
                len(waiting),
                0,
                sum(max(1, job.picture.tokens) for job in waiting),
            )
        ]

    async def stop(self) -> None:
        """Ends the encoder; orders that are not complete fail as lost."""
        lost = Failed(WorkerLost.code, "The worker that encodes the pictures was stopped.")
        for order in list(self._orders.values()):
            if not order.ended:
                self._fail(order, lost)
        await self.kill()

    async def kill(self) -> None:
        """Ends the encoder now."""
        for timer in self._timers:
            timer.cancel()
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        await self._encoder.stop()

    async def _run(self) -> None:
        """Encodes batch after batch until nothing waits."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next_batch():
                begun_at = loop.time()
                made = await self._made(batch)
                self._take(batch, made, int(1_000_000 * (loop.time() - begun_at)))
        finally:
            self._running = None

    def _next_batch(self) -> Sequence[Job]:
        now_ms = self._unix_ms()
        for order in self._jobs.orders():
            if order.request.deadline_unix_ms < now_ms:
                self._jobs.leave(order)
                late = "The pictures could not be encoded in time."
                self._fail(order, Failed(DeadlineExceeded.code, late))
        return self._jobs.begin()

    async def _made(self, batch: Sequence[Job]) -> Sequence[Encoding | Failed]:
        try:
            made = await self._encoder.encode([job.picture for job in batch])
            assert len(made) == len(batch), "an encoder answers for each picture"
        except Exception as error:
            log.exception("%d pictures could not be encoded", len(batch))
            return [_broken(error)] * len(batch)
        return made

    def _take(self, batch: Sequence[Job], made: Sequence[Encoding | Failed], made_us: int) -> None:
        self._jobs.batch = ()
        touched: dict[Order, None] = {}
        for job, each in zip(batch, made, strict=True):
            if isinstance(each, Encoding):
                self._shelf.put(job.picture.digest, each)
            for order in job.orders:
                if order.failed:
                    continue
                touched[order] = None
                if isinstance(each, Encoding):
                    order.made[job.picture.digest] = each
                else:
                    self._jobs.leave(order)
                    param = _param_of(order, job.picture.digest) if each.param else None
                    self._fail(order, replace(each, param=param))
        for order in touched:
            if order.complete:
                self._end(order, made_us)
        self._answer_canaries()

    def _look_up(self, order: Order) -> None:
        """Takes what is kept of an order's pictures; one that was fetched has nothing else."""
        for picture in order.request.media:
            kept = self._shelf.find(picture.digest)
            if kept is not None:
                order.made[picture.digest] = kept

    def _end(self, order: Order, made_us: int) -> None:
        if order.failed:
            return  # aborted meanwhile
        request_id = order.request.request_id
        size_bytes = sum(len(encoding.data) for encoding in order.encodings)
        end = Encoded(order.begun, len(order.made) - order.begun, made_us, size_bytes)
        self._owed.add(order)
        self._later(partial(self._note_fetched, order), OWED_S_MAX)
        order.told = True
        self._later(partial(self._forget, order))
        self._deliver([Delta(request_id, 0, b"", end)])
        order.settle()
        self._let_go(order)

    def _fail(self, order: Order, end: Failed | Finished) -> None:
        """Ends an order that comes to nothing, in a later turn: the caller may be the one told."""
        order.fail()
        self._later(partial(self._forget, order))
        delta = Delta(order.request.request_id, 0, b"", end)
        asyncio.get_running_loop().call_soon(self._deliver, [delta])

    def _let_go(self, order: Order) -> None:
        """Holds nothing for an order that nobody needs any more; who asks about it again does so
        because the answer was lost, and gets what is kept anyway.
        """
        if order.done_with:
            order.made.clear()
            self._note_fetched(order)

    def _forget(self, order: Order) -> None:
        self._note_fetched(order)
        if self._orders.get(order.request.request_id) is order:
            del self._orders[order.request.request_id]

    def _note_fetched(self, order: Order) -> None:
        if order in self._owed:
            self._owed.discard(order)
            self.on_fetched()

    def _forget_early(self, request_id: str, early: dict[FetchEncodings, Reply]) -> None:
        if self._early.get(request_id) is early:
            del self._early[request_id]
            for reply in early.values():
                reply(Encodings(request_id, failure="nobody asked for these pictures"))

    def _answer_canaries(self) -> None:
        canaries, self._canaries = self._canaries, []
        if canaries:
            self._deliver([_aborted(each) for each in canaries])

    def _later(self, what: Callable[[], None], seconds: float = KEPT_S_MAX) -> None:
        def run() -> None:
            self._timers.discard(timer)
            what()

        timer = asyncio.get_running_loop().call_later(seconds, run)
        self._timers.add(timer)


def _aborted(request_id: str) -> Delta:
    return Delta(request_id, 0, b"", Finished("abort", 0, 0))


def _param_of(order: Order, digest: int) -> str | None:
    """Returns the field of this request that a picture came from; another's may have it too."""
    return next((each.param or None for each in order.request.media if each.digest == digest), None)


def _broken(error: Exception) -> Failed:
    return Failed(
        EngineFault.code, f"The picture could not be encoded: {error}"[:MESSAGE_CHARS_MAX]
    )


def _nobody(deltas: Sequence[Delta]) -> None:
    raise AssertionError(f"{len(deltas)} deltas before start")
