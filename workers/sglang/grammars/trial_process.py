"""The process that tries grammars is started with the first question, and again if it has ended."""

import asyncio
import itertools
import logging
from contextlib import suppress
from typing import Any, Final

import msgspec

from protocol.errors import EngineFault
from protocol.generation import Grammar
from protocol.process.frames import LENGTH, framed
from protocol.process.program import Program
from workers.sglang.cpu.spares import spare_waits
from workers.sglang.grammars.forked_trial import TITLE, ForkedTrial
from workers.sglang.grammars.messages import Trial, Verdict
from workers.sglang.grammars.trial_setup import setup_of

log = logging.getLogger(__name__)

START_S_MAX: Final = 120.0
"""The first verdict is waited for this many seconds. The process imports torch, for seconds on an
idle host.
"""

VERDICT_S_MAX: Final = 60.0
"""A verdict is waited for this many seconds; a trial ends itself long before."""

_Answers = dict[int, asyncio.Future[Verdict]]
"""Questions without an answer, by their numbers."""


class TrialProcess:
    """A TrialProcess asks a process of its own for trials.

    Args:
        manager: SGLang's TokenizerManager, started.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._numbers = itertools.count()
        self._process: Program | ForkedTrial | None = None
        # now, since spares are ended when an engine is launched
        self._forked = ForkedTrial() if spare_waits() else None
        self._starting = asyncio.Lock()
        self._answers: _Answers = {}
        """What the process that runs is asked; one that ends fails its own questions alone."""
        self._reader: asyncio.Task[None] | None = None

    async def answer(self, grammar: Grammar, cpu_s: float) -> Verdict:
        """Asks the process; a second time if it has ended meanwhile, which is not the grammar's
        doing.

        Args:
            cpu_s: how long it may take.
        Raises:
            EngineFault: grammars cannot be tried.
        """
        try:
            return await self._ask(grammar, cpu_s)
        except (EOFError, OSError):  # a time-out is an OSError too
            self.kill()
        try:
            return await self._ask(grammar, cpu_s)
        except (EOFError, OSError) as error:
            log.error("grammars cannot be tried: %r", error)
            self.kill()
            raise EngineFault("The schema or grammar could not be checked.") from error

    async def ended(self) -> None:
        """Waits until the killed process is gone."""
        if self._reader is not None:
            await self._reader

    async def _ask(self, grammar: Grammar, cpu_s: float) -> Verdict:
        process, begins = await self._running()
        number, answers = next(self._numbers), self._answers
        answer = answers[number] = asyncio.get_running_loop().create_future()
        try:
            process.writer.write(framed(Trial(number, grammar, cpu_s)))
            return await asyncio.wait_for(answer, START_S_MAX if begins else VERDICT_S_MAX)
        finally:
            del answers[number]

    async def _running(self) -> tuple[Program | ForkedTrial, bool]:
        """Returns the process that tries grammars, and whether it has only begun."""
        async with self._starting:
            if self._process is not None and self._process.runs:
                return self._process, False
            setup = await asyncio.to_thread(setup_of, self._manager)
            process = await self._started()
            process.writer.write(framed(setup))
            self._process, self._answers = process, {}
            self._reader = asyncio.get_running_loop().create_task(_read(process, self._answers))
            return process, True

    async def _started(self) -> Program | ForkedTrial:
        forked, self._forked = self._forked, None
        if forked is not None and forked.runs:
            await forked.connect()
            return forked
        return await Program.start(TITLE)

    def kill(self) -> None:
        """Kills the process; the next grammar starts another one."""
        if self._process is not None:
            self._process.kill()
        self._process = None
        if self._forked is not None:
            self._forked.kill()


async def _read(process: Program | ForkedTrial, answers: _Answers) -> None:
    reader = process.reader
    with suppress(asyncio.IncompleteReadError, OSError):
        while True:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            verdict = msgspec.msgpack.decode(await reader.readexactly(length), type=Verdict)
            answer = answers.get(verdict.number)
            if answer is not None and not answer.done():
                answer.set_result(verdict)
    try:
        await process.end()
    finally:
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(EOFError("the process that tries grammars has ended"))
