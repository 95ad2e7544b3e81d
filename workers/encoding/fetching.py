"""A request whose pictures another worker encodes waits for what is made of them, and goes to the
engine then.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from msgspec.structs import replace

from protocol.errors import EncoderLost
from protocol.generation import Finished, Generate
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.media_plane import Encodings, FetchEncodings
from protocol.replies import Delta, Failed
from protocol.requests import Work
from workers.engine import Deliver, Runs

log = logging.getLogger(__name__)

ASK_AGAIN_S: Final = 2.0
"""Is the time after which a worker that has not answered is asked again: its connection may have
been lost with the question, or with the answer.
"""

UNANSWERED_MAX: Final = 3
"""Bounds the questions in a row that nothing is heard on, after which the other worker counts as
lost to this one. What it says of other requests counts too: answers wait behind each other where
the way is narrow.
"""


class MediaPlane(Protocol):
    """A MediaPlane reaches the workers that encode."""

    def ask(self, address: str, fetch: FetchEncodings) -> None:
        """Asks the worker at an address, whose answers come by `on_answer`; what cannot be sent is
        lost.
        """

    def heard_at(self, address: str) -> float:
        """Returns when the worker at an address was last heard of, in seconds of the loop's clock;
        0 if it never was.
        """
        ...

    def close(self) -> None:
        """Closes all connections."""


@dataclass(slots=True)
class _Waiting:
    request: Generate
    fetch: FetchEncodings
    timer: asyncio.TimerHandle
    asked_at: float
    unanswered: int = 1


class Fetching:
    """A Fetching stands between the requests of frontends and an engine.

    Args:
        engine: takes what is complete.
    Attributes:
        deliver: takes the end of what is not, in a later turn of the loop.
        plane: reaches the other workers; None where no request names any.
        grids_only: the engine needs no data, since it does not compute prompts.
    """

    def __init__(self, engine: Runs) -> None:
        self.deliver: Deliver = lambda _: None
        self.plane: MediaPlane | None = None
        self.grids_only = False
        self._engine = engine
        self._waiting: dict[str, _Waiting] = {}
        """Bounded by the credit granted to frontends."""

    def submit(self, request: Work) -> None:
        """Takes a request; one that names another worker waits for its encodings."""
        if not isinstance(request, Generate) or not request.encoded_at:
            self._engine.submit(request)
            return
        assert self.plane is not None, "frontends are told who fetches"
        fetch = FetchEncodings(request.request_id, self.grids_only)
        now = asyncio.get_running_loop().time()
        self._waiting[request.request_id] = _Waiting(request, fetch, self._timer(request), now)
        self.plane.ask(request.encoded_at, fetch)

    def abort(self, request_id: str) -> None:
        """Stops a request that waits, or that runs."""
        if self._drop(request_id) is None:
            self._engine.abort(request_id)
        else:
            self._end(request_id, Finished("abort", 0, 0))

    def on_answer(self, answer: Encodings) -> None:
        """Takes what a worker answered; what nobody waits for any more is ignored."""
        waiting = self._waiting.get(answer.request_id)
        if waiting is None or answer.pending:
            return
        self._drop(answer.request_id)
        request = waiting.request
        if answer.failure or len(answer.encodings) != len(request.media):
            self._fail(request.request_id, answer.failure or "another number of pictures came back")
            return
        media = [
            replace(picture, encoding=encoding)
            for picture, encoding in zip(request.media, answer.encodings, strict=True)
        ]
        self._engine.submit(replace(request, media=media))

    def close(self) -> None:
        """Gives up all that waits."""
        for request_id in list(self._waiting):
            self._drop(request_id)
        if self.plane is not None:
            self.plane.close()

    def _timer(self, request: Generate) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._ask_again, request)

    def _ask_again(self, request: Generate) -> None:
        assert self.plane is not None
        waiting = self._waiting[request.request_id]
        if self.plane.heard_at(request.encoded_at) >= waiting.asked_at:
            waiting.unanswered = 0
        if waiting.unanswered >= UNANSWERED_MAX:
            self._drop(request.request_id)
            self._fail(request.request_id, "the worker that encodes them does not answer")
            return
        waiting.unanswered += 1
        waiting.asked_at = asyncio.get_running_loop().time()
        waiting.timer = self._timer(request)
        self.plane.ask(request.encoded_at, waiting.fetch)

    def _drop(self, request_id: str) -> _Waiting | None:
        waiting = self._waiting.pop(request_id, None)
        if waiting is not None:
            waiting.timer.cancel()
        return waiting

    def _fail(self, request_id: str, why: str) -> None:
        """Ends a request as one that lost the worker which encodes: it may go on with another."""
        log.warning("request %s has no encodings of its pictures: %s", request_id, why)
        message = f"The pictures could not be fetched: {why}."
        self._end(request_id, Failed(EncoderLost.code, message[:MESSAGE_CHARS_MAX]))

    def _end(self, request_id: str, end: Failed | Finished) -> None:
        deltas: Sequence[Delta] = [Delta(request_id, 0, b"", end)]
        asyncio.get_running_loop().call_soon(self.deliver, deltas)
