"""Asks the program that validates, starts it with the first question, and does without it where it
takes too long.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Final

import msgspec

from frontend.conforming.messages import Question, Verdict
from protocol.process.program import Program

log = logging.getLogger(__name__)

START_S_MAX: Final = 10.0
"""Bounds the time until the program is ready, on a busy host; it takes a tenth of a second on an
idle one.
"""

CHECK_S_MAX: Final = 1.0
"""Bounds the time for one answer.

A usual one takes 0.1 ms, the largest schema that is taken 40 ms when it is compiled.
"""

TURN_S_MAX: Final = 3.0
"""Bounds the wait for the answers before: behind so many slow ones an answer goes out as it is."""

SLOW_MAX: Final = 256
"""Bounds the schemas remembered, by their hash, that took too long once and are not tried again;
the one met the longest time ago is forgotten first.
"""

_encode = msgspec.json.Encoder().encode


class Validator:
    """A Validator holds answers to schemas, one at a time, in a process that lasts until
    `close`.
    """

    def __init__(self) -> None:
        self._process: Program | None = None
        self._turn = asyncio.Lock()
        self._slow: OrderedDict[int, None] = OrderedDict()
        self._soon: set[asyncio.Task[None]] = set()

    def soon(self, check: Coroutine[None, None, None]) -> None:
        """Runs a check that nobody waits for.

        It takes its turn, and so `TURN_S_MAX` and `CHECK_S_MAX` at most.
        """
        task = asyncio.get_running_loop().create_task(check)
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    async def breach(self, schema: str, answer: str) -> str | None:
        """Returns how the answer, which should be JSON, does not conform to the schema, JSON text;
        None if it does.

        None as well where it cannot be found out in time, or by the kept library at all, which is
        logged: the grammar that held the model to the schema is the first to see to it.
        """
        try:
            async with asyncio.timeout(TURN_S_MAX):
                await self._turn.acquire()
        except TimeoutError:
            log.warning("an answer was not validated: others took too long")
            return None
        try:
            verdict = await self._verdict(Question(schema, answer))
        finally:
            self._turn.release()
        if verdict.unchecked is not None:
            log.info("an answer was not validated: %s", verdict.unchecked)
        return verdict.breach

    async def _verdict(self, question: Question) -> Verdict:
        if (key := hash(question.schema)) in self._slow:
            self._slow.move_to_end(key)
            return Verdict(unchecked="its schema takes too long")
        try:
            process = self._process or await self._start()
            async with asyncio.timeout(CHECK_S_MAX):
                return await _ask(process, question)
        except TimeoutError:
            self._note_slow(key)
            await self.close()
            return Verdict(unchecked="it takes too long")
        except (OSError, EOFError) as error:
            await self.close()
            return Verdict(unchecked=f"the program that does ended ({error!r})")
        except BaseException:  # the client left: its verdict must not be taken for the next one's
            await self.close()
            raise

    async def _start(self) -> Program:
        try:
            async with asyncio.timeout(START_S_MAX):
                process = self._process = await Program.start("frontend.conforming.program")
                await _heard(process)
        except TimeoutError:
            raise EOFError("it did not begin") from None
        return process

    def _note_slow(self, key: int) -> None:
        self._slow[key] = None
        while len(self._slow) > SLOW_MAX:
            self._slow.popitem(last=False)

    async def close(self) -> None:
        """Ends the process; the next question starts another."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()


async def _ask(process: Program, question: Question) -> Verdict:
    process.writer.write(_encode(question) + b"\n")
    await process.writer.drain()
    return await _heard(process)


async def _heard(process: Program) -> Verdict:
    line = await process.reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("it said nothing")
    return msgspec.json.decode(line, type=Verdict)
