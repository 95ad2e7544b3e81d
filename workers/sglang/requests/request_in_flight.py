"""One request lives here between submit and its end, and its failure is told by what it means.
Imports no SGLang.
"""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from msgspec.structs import replace

from protocol.errors import DeadlineExceeded, EngineFault, InvalidRequest, MeshError, WorkerLost
from protocol.generation import Extras, Finished, Generate, Part
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.replies import Delta, Failed
from protocol.requests import Work
from protocol.tokens import unpack_tokens
from workers.sglang.translation import GRAMMAR_DEAD_END, GRAMMAR_TOO_SLOW, failure

log = logging.getLogger(__name__)

_AGAINST_GRAMMAR: Final = re.compile(
    rf"^(Failed to compile \w+ grammar: |.*(?={GRAMMAR_DEAD_END}|{GRAMMAR_TOO_SLOW}))"
)
"""SGLang's GrammarManager, and our change of it, begin so to say something against a grammar."""


class Reader(Protocol):
    """A Reader makes text of one request's tokens and takes it apart (workers.sglang.reading).

    Attributes:
        stopped_after_tokens: tokens up to and including the one that completed a stop string; None
        while none did.
        matched_stop: that string.
    """

    stopped_after_tokens: int | None
    matched_stop: str | None

    def feed(self, token_ids: Sequence[int]) -> list[Part]:
        """Takes the next tokens and returns the parts that are certain by them."""
        ...

    def end(self, token_ids: Sequence[int], finished: Finished) -> list[Part]:
        """Takes the last tokens, and tells what was held back."""
        ...


@dataclass(slots=True, eq=False)
class InFlight:
    """An InFlight is a request on the engine.

    Their number is bounded by the credits that the worker grants its frontends.

    Attributes:
        output: what SGLang appends to (workers.sglang.seam.steps.Output); None for an embedding.
    """

    request: Work
    output: Any
    reader: Reader | None = None
    task: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = None
    expired: bool = False

    @property
    def tokens_sent(self) -> int:
        """Returns how many tokens have been delivered."""
        return 0 if self.output is None else self.output.sent

    @property
    def dispatched(self) -> bool:
        """Tells whether the scheduler knows of the request, so that only it can end it."""
        return self.output is not None and self.output.dispatched

    def read(self, delta: Delta) -> Delta:
        """Returns the delta with what its reader made of it.

        A stop string ends the request though the engine goes on.
        """
        reader, end = self.reader, delta.end
        if reader is None or isinstance(end, Failed):
            return delta
        token_ids = unpack_tokens(delta.token_ids)
        parts = reader.end(token_ids, end) if isinstance(end, Finished) else reader.feed(token_ids)
        if reader.stopped_after_tokens is not None:
            end = self._stopped(reader, end)
        if parts or delta.extras is not None:
            extras = Extras(parts) if delta.extras is None else replace(delta.extras, parts=parts)
            return Delta(delta.request_id, delta.start, delta.token_ids, end, extras)
        return (
            delta
            if end is delta.end
            else Delta(delta.request_id, delta.start, delta.token_ids, end)
        )

    def _stopped(self, reader: Reader, end: Any) -> Finished:
        finished = end if isinstance(end, Finished) else self.output.finished_now("stop")
        return replace(
            finished,
            reason="stop",
            completion_tokens=reader.stopped_after_tokens,
            matched_token_id=None,
            matched_stop=reader.matched_stop,
        )


def refusal(request: Work, *, stopping: bool, in_use: bool) -> Failed | None:
    """Returns why a request is not taken at all; None where it is.

    Args:
        stopping: the engine is.
        in_use: a request of this id runs. SGLang's own refusal would come with the state of that
        one.
    """
    if stopping:
        return Failed(code=WorkerLost.code, message="the worker is stopping")
    if in_use:
        return Failed(
            code=InvalidRequest.code, message=f"request id {request.request_id} is in use"
        )
    if request.deadline_unix_ms <= time.time() * 1000:
        return Failed(
            code=DeadlineExceeded.code,
            message="the deadline had passed before the request reached the engine",
        )
    return None


def deadline_failed() -> Failed:
    """Returns the end of a request that did not begin in time."""
    return Failed(code=DeadlineExceeded.code, message="the deadline passed before the first token")


def in_the_clients_words(request: Work, end: Failed) -> Failed:
    """Returns what the engine says against a request's grammar, with the name of the client's field
    that it came from.
    """
    grammar = request.grammar if isinstance(request, Generate) else None
    reason = _AGAINST_GRAMMAR.sub("", end.message)
    if grammar is None or end.code != InvalidRequest.code or reason == end.message:
        return end
    return Failed(
        end.code, f"{grammar.field} cannot be used: {reason}"[:MESSAGE_CHARS_MAX], grammar.field
    )


def failed(error: BaseException | None) -> Failed:
    """Returns the failure that an exception of `generate_request` stands for."""
    if isinstance(error, MeshError):
        return Failed(code=error.code, message=error.message[:MESSAGE_CHARS_MAX], param=error.param)
    # SGLang's validation; an unknown or ill-typed parameter is a TypeError
    if isinstance(error, ValueError | TypeError):
        return Failed(code=InvalidRequest.code, message=str(error)[:MESSAGE_CHARS_MAX])
    status = getattr(error, "status_code", None)  # fastapi.HTTPException
    if isinstance(status, int):
        return failure(status, str(getattr(error, "detail", "")))
    log.error("SGLang failed on a request", exc_info=error)
    return Failed(code=EngineFault.code, message="the engine failed on this request")
