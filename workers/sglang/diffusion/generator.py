"""SGLang's DiffGenerator as a Generator: an order at a time, in a process that is started anew when
it ends.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from protocol.diffusion import Diffuse
from protocol.errors import EngineFault, WorkerLost, error_from_code
from protocol.membership import Capacity, ModelCard
from protocol.process.flags import dropped, said_after
from protocol.process.start_error import StartError
from workers.diffusion.generator import Made, OnFree, OnStep, Step
from workers.engine import EngineFacts, OnDeath
from workers.sglang.diffusion.kept_process import KeptProcess
from workers.sglang.diffusion.messages import (
    File,
    Finished,
    Freed,
    Make,
    Refused,
    Reply,
    Setup,
    Stepped,
)
from workers.sglang.diffusion.process import GeneratorProcess

log = logging.getLogger(__name__)

LEAVE_S_MAX: Final = 30.0
"""An order that is to be left has ended within this many seconds, at its next step; or the process
is replaced. Steps of large videos take some seconds, and so does what comes before and behind them.
"""

CAPACITY: Final = Capacity(dp_size=1, page_size_tokens=64, kv_tokens=64, requests_running_max=1)
"""It makes one order at a time, and caches nothing."""


def _new_future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


@dataclass
class _Order:
    """An _Order is what the process works on."""

    number: int
    asked: Diffuse
    into: Path
    on_step: OnStep
    freed: "asyncio.Future[None]" = field(default_factory=_new_future)
    answer: "asyncio.Future[list[File]]" = field(default_factory=_new_future)

    def free(self) -> None:
        """Has the next order come; it waits in the process for what is left of this one."""
        if not self.freed.done():
            self.freed.set_result(None)

    def is_last(self, stepped: Stepped) -> bool:
        """Tells whether no step comes behind this one, as far as can be known.

        A picture's decoding, which is left, takes about as long as the next order on its way here;
        that of a video takes so long that another worker may be free before.
        """
        last_output = stepped.index >= self.asked.count - 1
        return last_output and stepped.done >= stepped.total and self.asked.format != "mp4"


class SglangGenerator:
    """A SglangGenerator makes what SGLang's DiffGenerator makes, in a process of its own."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._numbers = itertools.count(1)
        self._turn = asyncio.Lock()
        self._kept: KeptProcess | None = None
        self._orders: dict[int, _Order] = {}
        """Holds what the process has not answered yet: what it makes, and what it writes."""
        self._leaving: asyncio.Task[None] | None = None
        """Frees the process from the order before, whose caller has gone."""

    @classmethod
    def from_argv(cls, argv: Sequence[str], *, videos: bool) -> Self:
        """Takes SGLang's arguments for diffusion models, which its own parser reads in the process
        that `start` starts: this one stays without SGLang.

        Args:
            videos: the model is to make videos, and not pictures.
        Raises:
            StartError: there is no such file as --config names; what else is wrong, `start` says.
        """
        config, named = b"", said_after(argv, "--config")
        if named is not None:
            try:
                config = Path(named).read_bytes()
            except OSError as error:
                raise StartError(f"--config {named}: {error.strerror}") from None
            argv = dropped(argv, "--config")
        return cls(Setup([*argv], videos, os.getpid(), config))

    async def start(self, on_death: OnDeath) -> EngineFacts:
        """Loads the model; returns when orders can be taken.

        Raises:
            StartError: it cannot; the message says why in one line.
        """
        kept = self._kept = KeptProcess(
            self._setup,
            on_reply=self._take,
            on_stepped=self._take_step,
            on_lost=self._lose,
        )
        up = await kept.start()
        kept.keep(on_death)
        name, *aliases = up.names
        card = ModelCard(
            name=name, aliases=aliases, context_length=1, vocab_size=1, eos_token_ids=[], files=[]
        )
        return EngineFacts(
            card=card, card_files={}, capacity=CAPACITY, version=up.version, generates=False
        )

    async def make(
        self, order: Diffuse, into: Path, on_step: OnStep, on_free: OnFree
    ) -> Sequence[Made]:
        """Returns the outputs of an order, as `workers.diffusion.generator.Generator` says.

        Cancelled, it has the order left at its next step.
        """
        assert self._kept is not None, "make before start"
        async with self._turn:
            if self._leaving is not None:
                await asyncio.shield(self._leaving)
            process = await self._kept.running()
            running = _Order(next(self._numbers), order, into, on_step)
            self._orders[running.number] = running
            process.tell(Make(running.number, order, str(into)))
            try:
                await asyncio.wait(
                    {running.freed, running.answer}, return_when=asyncio.FIRST_COMPLETED
                )
            except asyncio.CancelledError:
                running.on_step = _nothing
                self._leaving = asyncio.get_running_loop().create_task(_leave(process, running))
                raise
        if running.freed.done():
            on_free()
        return [_made(file, into) for file in await running.answer]

    async def ready(self) -> None:
        """Returns as soon as the process is there.

        Raises:
            WorkerLost: it is started anew too long.
        """
        assert self._kept is not None, "ready before start"
        await self._kept.running()

    async def stop(self) -> None:
        """Ends the process and its ranks, now."""
        if self._kept is not None:
            await self._kept.stop()
        self._lose("it was stopped")

    def _take(self, reply: Reply) -> None:
        if not isinstance(reply, Freed | Finished | Refused) or reply.number not in self._orders:
            return
        if isinstance(reply, Freed):
            self._orders[reply.number].free()
            return
        order = self._orders.pop(reply.number)
        if order.answer.done():  # by its caller, who has gone
            return
        if isinstance(reply, Finished):
            order.answer.set_result(reply.files)
        elif reply.code:
            order.answer.set_exception(error_from_code(reply.code, reply.message, reply.param))
        else:
            order.answer.set_exception(EngineFault("The order was left."))

    def _take_step(self, stepped: Stepped) -> None:
        order = self._orders.get(stepped.number)
        if order is None:
            return
        preview = stepped.preview
        count = order.asked.count
        order.on_step(
            Step(
                step=min(stepped.index, count - 1) * stepped.total + stepped.done,
                steps=count * stepped.total,
                index=stepped.index,
                preview=None if preview is None else _made(preview, order.into),
            )
        )
        if order.is_last(stepped):
            order.free()

    def _lose(self, reason: str) -> None:
        orders, self._orders = self._orders, {}
        for order in orders.values():
            if not order.answer.done():
                order.answer.set_exception(
                    WorkerLost(f"The worker's generator ended: {reason}", cause="died")
                )


async def _leave(process: GeneratorProcess, order: _Order) -> None:
    """Has the process make an order no more, one way or the other."""
    process.mark.leave(order.number)
    await asyncio.wait([order.answer], timeout=LEAVE_S_MAX)
    if not order.answer.done():
        log.warning("the order goes on after it was left: the generator is replaced")
        process.kill()
        await asyncio.wait([order.answer])
    order.answer.exception()  # nobody else looks at it


def _nothing(step: Step) -> None:
    """Takes a step of what nobody waits for."""


def _made(file: File, into: Path) -> Made:
    return Made(
        into / file.name, file.format, file.width, file.height, file.frames, file.fps, file.seed
    )
