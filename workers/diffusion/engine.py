"""Pictures and videos are made one order after the other, and what was made is kept."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from protocol.diffusion import Diffuse, Diffused, Progress
from protocol.errors import DeadlineExceeded, RequestAborted, WorkerLost
from protocol.generation import Extras, Finished
from protocol.membership import RankLoad
from protocol.replies import Delta, Failed
from protocol.requests import Work
from workers.diffusion.canaries import Canaries
from workers.diffusion.generator import Generator
from workers.diffusion.jobs import Jobs, runs_again
from workers.diffusion.making import FINISHING_MAX, Making
from workers.diffusion.orders import ORDERS_WAITING_MAX, Line, Order
from workers.diffusion.outputs import Outputs
from workers.diffusion.pace import Pace, PaceLimits
from workers.diffusion.source import Source
from workers.diffusion.usual import Usual
from workers.diffusion.warming import warm_up
from workers.engine import CANARY_PREFIX, Deliver, EngineFacts, OnDeath

log = logging.getLogger(__name__)

_LATE: Final = Failed(DeadlineExceeded.code, "It could not be begun in time.")
_ABORTED: Final = Failed(RequestAborted.code, "Its end was asked for.")
_HANDED_BACK: Final = Failed(WorkerLost.code, "The worker is shutting down.")
_STOPPED: Final = Failed(WorkerLost.code, "The worker that makes it was stopped.")

End = Diffused | Failed | Finished


class DiffusionEngine:
    """A DiffusionEngine is a generator of pictures or videos as an Engine.

    Args:
        outputs: keeps what is made.
        lifetime_s: of jobs that have ended.
        first_order: is made, and thrown away, before anybody counts on the generator.
        unix_ms: wall clock, against which deadlines are meant.
        usual: what is made where orders do not say it.
        pace: how long the generator may be silent.
    """

    def __init__(
        self,
        generator: Generator,
        outputs: Outputs,
        *,
        lifetime_s: float,
        first_order: Callable[[EngineFacts], Diffuse],
        unix_ms: Callable[[], float],
        usual: Usual | None = None,
        pace: PaceLimits | None = None,
    ) -> None:
        self._generator = generator
        self._outputs = outputs
        self._first_order = first_order
        self._unix_ms = unix_ms
        self._usual = usual or Usual()
        self._line = Line()
        self._pace = Pace(pace)
        self._jobs = Jobs(lifetime_s=lifetime_s, unix_ms=unix_ms, kept=outputs)
        self._canaries = Canaries(self._ready, self._tell)
        self._making: Making | None = None
        self._finishing: dict[Making, asyncio.Task[None]] = {}
        """Holds what is made and being written, at most FINISHING_MAX."""
        self._task: asyncio.Task[None] | None = None
        self._deliver: Deliver = _nobody
        self._closed = False

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts:
        """Starts the generator and has it make something; raises StartError where it cannot."""
        self._deliver = deliver
        facts = await self._generator.start(on_death)
        await warm_up(self._generator, self._outputs, self._first_order(facts))
        capacity = replace(
            facts.capacity,
            dp_size=1,
            requests_running_max=1,
            requests_queued_max=ORDERS_WAITING_MAX,
            orders_by_priority=True,
        )
        source = Source(
            self._outputs,
            self._jobs,
            abort=self._abort_job,
            hand_back=lambda: self._clear(_HANDED_BACK),
        )
        card = replace(facts.card, created_unix_s=int(self._unix_ms() / 1000))
        return replace(facts, card=card, capacity=capacity, generates=False, outputs=source)

    def submit(self, request: Work) -> None:
        """Takes a Diffuse and returns at once; what ends it is delivered in a later turn."""
        assert isinstance(request, Diffuse), "a worker that makes pictures takes nothing else"
        if request.request_id.startswith(CANARY_PREFIX):
            self._take_canary(request.request_id)
            return
        if request.job_id and self._goes_on(request):
            return
        request = self._usual.completed(request)
        order, loop = Order(request), asyncio.get_running_loop()
        refusal = _HANDED_BACK if self._closed else self._line.refusal(order)
        if refusal is None and request.job_id:
            refusal = self._jobs.add(request)
        if refusal is not None:
            loop.call_soon(self._tell, request.request_id, refusal)
            return
        self._line.add(order)
        left_s = (request.deadline_unix_ms - self._unix_ms()) / 1000
        order.timer = loop.call_later(max(0.0, left_s), self._time_out, order)
        if self._task is None:
            self._task = loop.create_task(self._run())

    def abort(self, request_id: str) -> None:
        """Stops an order at any stage. The generator gives up what it makes of it, for which the
        next order waits.
        """
        order = next((each for each in self._orders() if each.request_id == request_id), None)
        if order is not None:
            self._abort(order)
        else:
            self._canaries.abort(request_id)

    def loads(self) -> list[RankLoad]:
        """Returns whether something is being made, how much waits, and the cost of both that is
        left.
        """
        making = self._making
        cost_left = self._line.cost + (making.order.cost_left if making else 0)
        return [RankLoad(0, int(making is not None), len(self._line), 0, cost_left)]

    async def stop(self) -> None:
        """Ends the generator; orders that are not made fail as lost, and nothing is kept."""
        self._clear(_STOPPED)
        for making in self._makings():
            self._end(making.order, _STOPPED)
        await self.kill()
        await self._outputs.close()

    async def kill(self) -> None:
        """Ends the generator now; what is left of files goes with the process."""
        self._closed = True
        self._canaries.close()
        for order in self._line.clear():
            order.end()
        for making in self._makings():
            making.order.end()
            making.give_up()
        tasks = [*self._finishing.values(), *([self._task] if self._task else ())]
        self._finishing.clear()
        self._making = self._task = None
        for task in tasks:
            task.cancel()
        self._outputs.forget()
        await self._generator.stop()

    async def _run(self) -> None:
        """Makes order after order until nothing waits."""
        try:
            while (order := self._line.next()) is not None:
                if order.request.deadline_unix_ms < self._unix_ms():
                    self._end(order, _LATE)
                    continue
                order.stop_timer()
                self._pace.begin(order.step_cost, asyncio.get_running_loop().time())
                self._jobs.progress(order.job_id, 0)
                making = self._making = Making(
                    order,
                    self._generator,
                    self._outputs,
                    heard=self._note_step,
                    tell=self._tell_progress,
                )
                if not await making.freed():
                    self._pace.give_up(asyncio.get_running_loop().time())
                    self._canaries.ask_again()
                self._making = None
                self._finishing[making] = asyncio.create_task(self._finish(making))
                if len(self._finishing) > FINISHING_MAX:
                    await asyncio.wait({next(iter(self._finishing.values()))})
        finally:
            self._task = None

    async def _finish(self, making: Making) -> None:
        """Waits until what is made is written, and tells of it."""
        end = await making.end()
        del self._finishing[making]
        if end is not None:
            self._pace.trust()
            self._end(making.order, end)
            self._canaries.heard()

    def _goes_on(self, request: Diffuse) -> bool:
        """Tells whether a job is known already: a frontend that lost the way here asks for it
        again. What is to be told of it comes over the new one, and under the new id, then.
        """
        loop = asyncio.get_running_loop()
        job = self._jobs.find(request.job_id)
        if job is None or runs_again(job):
            return False
        if job.status == "completed":
            if not all(each.output_id in self._outputs for each in job.outputs):
                return False
            end = Diffused(job.outputs, expires_unix_s=job.expires_unix_s)
            loop.call_soon(self._tell, request.request_id, end)
        elif job.status == "failed":
            failed = Failed(job.error_code, job.error)
            loop.call_soon(self._tell, request.request_id, failed)
        elif (order := self._order_of(request.job_id)) is not None and (
            order.request_id != request.request_id
        ):
            loop.call_soon(self._tell, order.request_id, Finished("abort", 0, 0))
            order.request = replace(order.request, request_id=request.request_id)
        return True

    def _orders(self) -> Iterator[Order]:
        """Yields what waits, and what is being made or written for somebody."""
        yield from self._line
        for making in self._makings():
            if not making.order.ended:
                yield making.order

    def _makings(self) -> list[Making]:
        return [*self._finishing, *([self._making] if self._making else ())]

    def _order_of(self, job_id: str) -> Order | None:
        return next((each for each in self._orders() if each.job_id == job_id), None)

    def _take_canary(self, canary: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._making is None:
            self._canaries.ask(canary)
        elif self._pace.explains(now):
            self._canaries.answer(canary)
        else:
            self._canaries.hold(canary)

    async def _ready(self) -> None:
        await self._generator.ready()
        self._pace.trust()

    def _note_step(self, order: Order) -> None:
        self._pace.note_step(asyncio.get_running_loop().time())
        self._jobs.progress(order.job_id, order.percent)
        self._canaries.heard()

    def _give_up(self, order: Order) -> None:
        """Has an order made no more."""
        if not self._line.drop(order):
            for making in self._makings():
                if making.order is order:
                    making.give_up()

    def _abort(self, order: Order) -> None:
        self._give_up(order)
        order.end()
        self._jobs.fail(order.job_id, _ABORTED)
        loop = asyncio.get_running_loop()
        loop.call_soon(self._tell, order.request_id, Finished("abort", 0, 0))

    def _abort_job(self, job_id: str) -> None:
        order = self._order_of(job_id)
        if order is not None:
            self._abort(order)

    def _time_out(self, order: Order) -> None:
        self._give_up(order)
        self._end(order, _LATE)

    def _clear(self, end: Failed) -> None:
        """Takes nothing more, and ends what waits."""
        self._closed = True
        for order in self._line.clear():
            self._end(order, end)

    def _end(self, order: Order, end: Diffused | Failed) -> None:
        if order.ended:
            return
        order.end()
        if isinstance(end, Failed):
            self._jobs.fail(order.job_id, end)
        else:
            self._jobs.complete(order.job_id, end)
        self._tell(order.request_id, end)

    def _tell(self, request_id: str, end: End) -> None:
        self._deliver([Delta(request_id, 0, b"", end)])

    def _tell_progress(self, order: Order, progress: Progress) -> None:
        self._deliver([Delta(order.request_id, 0, b"", extras=Extras(progress=progress))])


def _nobody(deltas: Sequence[Delta]) -> None:
    raise AssertionError(f"{len(deltas)} deltas before start")
