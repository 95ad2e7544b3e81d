"""Frontends' questions for the tokens of a prompt are answered in a thread, one after the other, so
that steps and heartbeats go on.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from protocol.errors import DeadlineExceeded, EngineFault, MeshError, Overloaded
from protocol.limits import MESSAGE_CHARS_MAX, STOP_CHARS_MAX, STOPS_MAX
from protocol.replies import Failed, Tokenized
from protocol.requests import Tokenize
from workers.engine import ImageCounter, PromptMaker

log = logging.getLogger(__name__)

UNANSWERED_MAX: Final = 1_024
"""At most this many prompts wait to be tokenized, from all frontends together: as many as four of
them may ask at once.

At 30 ms each (8k tokens) the last would be answered after 30 s, which is when nobody waits for it
any more.
"""

_FAILED: Final = Failed(EngineFault.code, "The engine's tokenizer failed on this prompt.")


class Asker(Protocol):
    """An Asker is a frontend, as its questions see it."""

    def send(self, message: Tokenized) -> bool:
        """Sends an answer; False when there is no room or nobody there."""
        ...


class Tokenizing:
    """Tokenizing answers the questions of frontends with the engine's own tokenizer.

    Args:
        prompts: makes tokens; None if this worker does not tokenize.
        images: counts the tokens of pictures; None if it cannot.
        unix_ms: wall clock, against which deadlines are meant.
    """

    def __init__(
        self,
        prompts: PromptMaker | None = None,
        images: ImageCounter | None = None,
        *,
        unix_ms: Callable[[], float],
    ) -> None:
        self._prompts = prompts
        self._images = images
        self._unix_ms = unix_ms
        # One thread: a Hugging Face tokenizer changes its own state while it encodes.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        self._answering: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        """This many questions hold a place. Fewer than those that answer, by those that end in this
        turn of the loop: who is answered holds none.
        """

    def take(self, asker: Asker, query: Tokenize) -> None:
        """Answers a question, at once if it is refused.

        An answer that finds no room is dropped: whoever asked asks another worker in time.
        """
        if (self._images if query.images else self._prompts) is None:
            asker.send(
                Tokenized(
                    query.query_id,
                    failed=Failed(EngineFault.code, "This worker does not tokenize."),
                )
            )
        elif self._unanswered >= UNANSWERED_MAX:
            asker.send(
                Tokenized(
                    query.query_id,
                    failed=Failed(Overloaded.code, "Too many prompts are waiting to be tokenized."),
                )
            )
        else:
            self._unanswered += 1
            task = asyncio.get_running_loop().create_task(self._answer(asker, query))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def close(self) -> None:
        """Drops the questions that wait."""
        for task in self._answering:
            task.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, asker: Asker, query: Tokenize) -> None:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._tokenized, query
            )
        finally:
            self._unanswered -= 1
        try:
            asker.send(answer)
        except Exception:
            log.exception("the tokens of a prompt cannot be sent")
            asker.send(Tokenized(query.query_id, failed=_FAILED))

    def _tokenized(self, query: Tokenize) -> Tokenized:
        if self._unix_ms() > query.deadline_unix_ms:
            return Tokenized(
                query.query_id,
                failed=Failed(DeadlineExceeded.code, "The prompt waited too long to be tokenized."),
            )
        try:
            if query.images:
                assert self._images is not None
                return Tokenized(query.query_id, image_tokens=self._images.tokens(query.images))
            prompts = self._prompts
            assert prompts is not None
            if query.chat:
                token_ids, stops = prompts.of_chat(query.chat)
                return Tokenized(
                    query.query_id, token_ids, [stop[:STOP_CHARS_MAX] for stop in stops[:STOPS_MAX]]
                )
            return Tokenized(
                query.query_id,
                prompts.of_text(query.text, add_special_tokens=query.add_special_tokens),
            )
        except MeshError as error:
            return Tokenized(
                query.query_id,
                failed=Failed(error.code, error.message[:MESSAGE_CHARS_MAX], error.param),
            )
        except Exception:
            log.exception("a prompt could not be tokenized")
            return Tokenized(query.query_id, failed=_FAILED)
