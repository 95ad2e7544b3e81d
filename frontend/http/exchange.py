"""Answers one HTTP request on the hot path: the body within its cap, the answer or the event
stream, the client's leaving, the error.

Raw ASGI: FastAPI's request and response objects cost more than the rest of a short chat.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any, Final, TypeVar, TypeVarTuple

import msgspec
from msgspec import Struct

from frontend.http import request_id
from frontend.http.abortable import Abortable
from frontend.http.asgi import Receive, Scope, Send
from frontend.http.body_budget import BodyBudget
from frontend.http.body_counts import LARGE_BYTES, is_large
from frontend.http.deadlines import Deadlines
from frontend.http.direct_writes import DIRECT_WRITES
from frontend.http.error_forms import OPENAI_ERRORS, ErrorForm
from frontend.http.forms import FormPart
from frontend.http.headers import (
    OF_BODY,
    READ_HEADERS,
    error_headers,
    timeout_s_of,
)
from frontend.http.ignored import Ignored
from frontend.http.incoming_body import IncomingBody
from frontend.http.leaving import leaving_of
from frontend.http.routing_headers import HEADER_FIELDS
from frontend.http.sending import Sending
from frontend.observe.request_trace import RequestTrace
from protocol.error_answers import error_status
from protocol.errors import (
    ClientGone,
    DeadlineExceeded,
    InternalFault,
    InvalidRequest,
    MeshError,
    RequestAborted,
)
from protocol.trace_context import TRACEPARENT_CHARS_MAX, joined_tracestate

log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")
ArgsT = TypeVarTuple("ArgsT")

_encode = msgspec.json.Encoder().encode

ERROR_SEND_S_MAX: Final = 1.0
"""Bounds the sending of an error: who has no room for it by then reads nothing."""


class Exchange(Sending):
    """An Exchange is an HTTP request being answered: by one JSON body, an event stream, or an
    error.

    Args:
        timeout_s: of the server; a header may shorten it.
        deadlines: end the exchange when that time is over.
        now_unix_s: when the request came.
        ignored: what of the request is left aside, which the answer's header names.
    Attributes:
        endpoint: what metrics call the endpoint.
        runs_model: a model computes something for it.
        came_at: when it came, by perf_counter.
        came_unix_s: the same by the wall clock.
        scope: the server's own, with path, method and headers.
        timeout_s: after which the request is ended.
        deadline_unix_ms: the same as a time, for the worker.
        is_large: work on the body, which was read, would stop the loop.
        model: the name that the client asked for, empty before it is known; any text.
        streams: whether it wants events.
        takes_comments: whether its streams may have comments.
        errors: how the endpoint says that something went wrong.
        rids: the client's own names of what is generated.
        work: what runs for it on workers, or ran.
        prepared_at: when its prompt was tokenized, by perf_counter; 0 before.
        rendered_s, tokenized_s: what its template and tokenizer took, if they were looked at.
        traceparent, tracestate: name the span that the work is below.
        trace: its own span; None where none is recorded.
    """

    work: Abortable | None = None
    prepared_at = rendered_s = tokenized_s = 0.0
    trace: RequestTrace | None = None
    traceparent: str | None = None
    tracestate = ""
    is_large = False
    endpoint = model = ""
    streams = runs_model = False
    takes_comments = True
    rids: Sequence[str] = ()
    errors: ErrorForm = OPENAI_ERRORS
    _cut_off_with: MeshError | None = None
    _task: "asyncio.Task[Any] | None" = None
    """Runs the handler, while it runs."""

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        body_bytes_max: int,
        budget: BodyBudget,
        timeout_s: float,
        deadlines: Deadlines,
        now_unix_s: float,
        ignored: Ignored,
    ) -> None:
        super().__init__(send, ignored, scope.pop(DIRECT_WRITES, None))
        self.scope = scope
        self._receive = receive
        self._budget = budget
        self._body = IncomingBody(
            scope["headers"], receive, bytes_max=body_bytes_max, budget=budget
        )
        self.request_id = request_id.new_request_id()
        """Is the name of the request in the mesh, 32 hex digits."""
        self.routing_headers: dict[str, str] = {}
        """Maps a field of `nvext` to what a header says of it."""
        self.echoed_id = self.request_id.encode()
        self.timeout_s = timeout_s
        self._deadlines = deadlines
        self.came_at, self.came_unix_s = perf_counter(), now_unix_s
        for name, value in scope["headers"]:
            if name not in READ_HEADERS:
                continue
            if name in OF_BODY:
                self._body.note(name, value)
            elif name == request_id.HEADER:
                if request_id.is_echoable(value):
                    self.echoed_id = value
            elif name in HEADER_FIELDS:
                self.routing_headers[HEADER_FIELDS[name]] = value.decode("latin-1")
            elif name == b"traceparent":
                if len(value) <= TRACEPARENT_CHARS_MAX:
                    self.traceparent = value.decode("latin-1")
            elif name == b"tracestate":
                self.tracestate = joined_tracestate(self.tracestate, value)
            else:
                self._limit_by(value)
        self.deadline_unix_ms = int((now_unix_s + self.timeout_s) * 1000)

    @property
    def told_id(self) -> str:
        """Returns the id that its client is told: its own, or that in the mesh."""
        return self.echoed_id.decode("latin-1")

    def header(self, name: bytes) -> bytes | None:
        """Returns the value of the first header of that name, in small letters."""
        return next((value for each, value in self.scope["headers"] if each == name), None)

    async def read_body(self) -> bytes | bytearray:
        """Returns the whole body, as IncomingBody.read does."""
        body = await self._body.read(self.cut_off)
        self.is_large = is_large(body)
        if self.trace is not None:
            self.trace.note_read()
        return body

    @property
    def brings_form(self) -> bool:
        """Tells whether the body is said to be multipart/form-data."""
        return self._body.boundary is not None

    async def read_form(self) -> list[FormPart]:
        """Returns the parts of a body that is a form, as IncomingBody.read_form does."""
        parts = await self._body.read_form(self.cut_off)
        if self.trace is not None:
            self.trace.note_read()
        self.is_large = self._body.size_bytes > LARGE_BYTES
        return parts

    def hold(self, size_bytes: int) -> None:
        """Counts bytes that were fetched for the request, as IncomingBody.add does."""
        self._body.add(size_bytes)

    async def in_proportion(self, work: Callable[[], ResultT]) -> ResultT:
        """Returns the result of `work`, which takes time in proportion to the body: called here, or
        in a thread if that is large. First ask `is_large`, since to await costs a microsecond.

        Raises:
            Overloaded: too many large bodies are being worked on.
        """
        return await self._budget.large.run(work) if self.is_large else work()

    async def keep_only(self, request: Struct, *done: list[Any], beside_bytes: int = 0) -> None:
        """Empties the lists of a request that nobody needs while the answer is made, and counts
        what is left of it, and so much that was made of it. For large bodies.

        An answer takes minutes, and what was made of a body is up to 20 times its size; nor should
        its place in the budget of all be taken for so long.
        """
        for each in done:
            each.clear()
        with suppress(UnicodeEncodeError):  # of a lone surrogate: the whole remains counted
            left = await self.in_proportion(partial(_encode, request))
            self._body.give_back(all_but_bytes=len(left) + beside_bytes)
            self.is_large = is_large(left)

    def run_until_client_leaves(self, work: Coroutine[Any, Any, None]) -> Awaitable[None]:
        """Runs `work` as Leaving.until does; to be called after the body was read."""
        return leaving_of(self.scope).until(work, self._task)

    def cut_off(self, error: MeshError) -> None:
        """Ends with this error as soon as the loop turns; not at all if the exchange is ending
        anyway.
        """
        if self._task is not None and self._cut_off_with is None:
            self._cut_off_with = error  # not at once, since it may be the exchange's own doing
            asyncio.get_running_loop().call_soon(self._cancel)

    def expire(self) -> None:
        """Ends with the error that its time is over, as `Limited` has it."""
        self.cut_off(
            DeadlineExceeded(f"The request was not finished within {self.timeout_s:g} seconds.")
        )

    def goes_by(self, rid: str) -> bool:
        """Returns whether a client may mean this exchange by `rid`: the id in its answer, its own
        x-request-id, or the rid that it gave.
        """
        return self.request_id in rid or rid == self.told_id or rid in self.rids

    def abort(self) -> None:
        """Ends with what there is so far, or with an error where nothing can be shown."""
        if self.work is None or not self.work.abort():
            self.cut_off(RequestAborted("The request was aborted by /abort_request."))

    async def answer(
        self, work: Callable[["Exchange", *ArgsT], Awaitable[None]], *args: *ArgsT
    ) -> MeshError | None:
        """Runs a handler; whatever it raises becomes the one error that the client sees.

        Args:
            args: what the handler takes beside the exchange.
        Returns:
            The error, for the metrics; None when there is none.
        """
        self._task = task = asyncio.current_task()
        assert task is not None
        self._deadlines.begin(self, self.timeout_s)
        try:
            await work(self, *args)
        except asyncio.CancelledError:
            if self._cut_off_with is None or task.uncancel():
                raise
            error = self._cut_off_with
        except MeshError as raised:
            error = raised
        except Exception:
            log.exception("defect while answering request %s", self.request_id)
            error = InternalFault("The server had an error while processing your request.")
        else:
            return None
        finally:
            self._task = None
            self._deadlines.end(self)
            self._body.give_back()
        # A traceback's frames and the error hold each other, and with them the whole request.
        error.__traceback__ = error.__context__ = error.__cause__ = None
        try:
            async with asyncio.timeout(ERROR_SEND_S_MAX):
                await self._send_error(error)
        except TimeoutError:
            log.info(
                "request %s: the client does not read, so its error was not sent", self.request_id
            )
        return error

    async def _send_error(self, error: MeshError) -> None:
        if isinstance(error, ClientGone):
            return
        if self.between_events:
            await self.end_events(self.errors.events(error))
        elif not self.started:
            await self.send_json(
                error_status(error),
                self.errors.body(error),
                headers=error_headers(error, closing=self._body.broken_off),
            )

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _limit_by(self, value: bytes) -> None:
        try:
            self.timeout_s = min(self.timeout_s, timeout_s_of(value))
        except InvalidRequest as error:
            self._body.refused = error
