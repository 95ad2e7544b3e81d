"""Asks the program that validates, starts it with the first question, and does without it where it
takes too long.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Final

from frontend.conforming.messages import Question, Verdict
from frontend.conforming.process import ValidatorProcess

log = logging.getLogger(__name__)

START_S_MAX: Final = 10.0
"""Until the program is ready, on a busy host; a tenth of a second on an idle one."""

CHECK_S_MAX: Final = 1.0
"""For one answer.

A usual one takes 0.1 ms, the largest schema that is taken 40 ms when it is compiled.
"""

TURN_S_MAX: Final = 3.0
"""For the answers before: behind so many slow ones an answer goes out as it is."""

SLOW_MAX: Final = 256
"""Schemas that took too long once and are not tried again, by their hash; the one met the longest
time ago is forgotten first.
"""


class Validator:
    """Holds answers to schemas, one at a time, in a process that lasts. `close` ends it."""

    def __init__(self) -> None:
        self._process: ValidatorProcess | None = None
        self._turn = asyncio.Lock()
        self._slow: OrderedDict[int, None] = OrderedDict()
        self._soon: set[asyncio.Task[None]] = set()

    def soon(self, check: Coroutine[None, None, None]) -> None:
        """Run a check that nobody waits for.

        It takes its turn, and so `TURN_S_MAX` and `CHECK_S_MAX` at most.
        """
        task = asyncio.get_running_loop().create_task(check)
        self._soon.add(task)
        task.add_done_callback(self._soon.discard)

    async def breach(self, schema: str, answer: str) -> str | None:
        """How the answer, which should be JSON, does not conform to the schema, JSON text; None if
        it does.

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
                return await process.ask(question)
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

    async def _start(self) -> ValidatorProcess:
        try:
            async with asyncio.timeout(START_S_MAX):
                process = self._process = await ValidatorProcess.start()
                await process.heard()
        except TimeoutError:
            raise EOFError("it did not begin") from None
        return process

    def _note_slow(self, key: int) -> None:
        self._slow[key] = None
        while len(self._slow) > SLOW_MAX:
            self._slow.popitem(last=False)

    async def close(self) -> None:
        """End the process. The next question starts another."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()
