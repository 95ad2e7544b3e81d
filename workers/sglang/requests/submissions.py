"""The requests of a started SGLang engine are run from submit to their end."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from protocol.embedding import Embed
from protocol.errors import WorkerLost
from protocol.generation import Finished, Generate
from protocol.replies import Delta, Failed
from protocol.requests import Work, tokens_of
from workers.engine import BROKEN, CANARY_PREFIX, Deliver
from workers.sglang.encodings import encoded_by_others
from workers.sglang.media import name_damaged
from workers.sglang.requests.prompt_limits import PromptLimits
from workers.sglang.requests.request_in_flight import (
    InFlight,
    deadline_failed,
    failed,
    in_the_clients_words,
    refusal,
)
from workers.sglang.translation import embedded

log = logging.getLogger(__name__)


class Submissions:
    """Submissions runs requests on SGLang's TokenizerManager and delivers what they put out, a step
    at a time.

    Args:
        manager: SGLang's TokenizerManager, whose steps come to `on_step`.
        readings: what plans the readings of requests (workers.sglang.reading).
        grammars: what tries grammars first (workers.sglang.grammars.guard).
    Attributes:
        deliver: takes the deltas.
        limits: what prompts may be, once it is known.
        tasks: what SGLang does for each request.
    """

    def __init__(self, manager: Any, readings: Any, grammars: Any, deliver: Deliver) -> None:
        self.deliver = deliver
        self.limits = PromptLimits(0, 0)
        self.tasks: set[asyncio.Task[None]] = set()
        self._manager = manager
        self._readings = readings
        self._grammars = grammars
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._in_flight: dict[str, InFlight] = {}
        self._canaries: dict[str, InFlight] = {}
        """Those of `_in_flight` that are canaries, in the order of submission.

        Bounded by the ranks: each has at most one.
        """

    @property
    def unfinished(self) -> list[Work]:
        """Returns the requests that have not ended."""
        return [in_flight.request for in_flight in self._in_flight.values()]

    def submit(self, request: Work) -> None:
        """Takes a request; what SGLang or kvmesh refuses ends with a Failed delta in a later turn
        of the loop.
        """
        refused = refusal(
            request, stopping=self._stopping, in_use=request.request_id in self._in_flight
        )
        if refused is not None:
            self._loop.call_soon(
                self.deliver,
                [Delta(request_id=request.request_id, start=0, token_ids=b"", end=refused)],
            )
            return
        prompt_tokens = tokens_of(request)
        in_flight = InFlight(
            request,
            self._manager.new_output(prompt_tokens) if isinstance(request, Generate) else None,
        )
        self._in_flight[request.request_id] = in_flight
        if request.request_id.startswith(CANARY_PREFIX):
            self._canaries[request.request_id] = in_flight
        in_flight.task = self._loop.create_task(
            self._generate(in_flight) if isinstance(request, Generate) else self._embed(in_flight)
        )
        self.tasks.add(in_flight.task)
        in_flight.task.add_done_callback(lambda task: self._on_task_done(in_flight, task))
        in_flight.expiry = self._loop.call_later(
            request.deadline_unix_ms / 1000 - time.time(), self._expire, in_flight
        )

    async def _generate(self, in_flight: InFlight) -> None:
        """Validates and dispatches a generation, and waits for its end.

        The output goes by `on_step`; an exception means that there is none.
        """
        from workers.sglang.requests.inputs import generate_input, grammar_of  # noqa: PLC0415

        request, plan = in_flight.request, None
        assert isinstance(request, Generate)
        if request.reading is not None:
            plan = await self._readings.ready(request)
            in_flight.reader = plan.reader
        log_metrics = request.request_id not in self._canaries
        grammar = grammar_of(request, plan)
        if grammar is not None:
            await self._grammars.check(grammar)
        encoded = await encoded_by_others(request, self._manager) if request.media else None
        obj = generate_input(
            request,
            grammar,
            in_flight.output,
            plan,
            self._manager,
            limits=self.limits,
            log_metrics=log_metrics,
            encoded=encoded,
        )
        if encoded is not None:
            # what was encoded is many megabytes, which nobody else holds from here on
            request = in_flight.request = replace(request, media=[])
            del encoded
        try:
            async for _ in self._manager.generate_request(obj, None):
                pass
        except Exception as error:
            await name_damaged(request.media, error)
            raise

    async def _embed(self, in_flight: InFlight) -> None:
        from workers.sglang.requests.inputs import embedding_input  # noqa: PLC0415

        request = in_flight.request
        assert isinstance(request, Embed)
        log_metrics = request.request_id not in self._canaries
        obj = embedding_input(request, self._manager, limits=self.limits, log_metrics=log_metrics)
        async for out in self._manager.generate_request(obj, None):
            self.on_step([Delta(request.request_id, 0, b"", embedded(out))])

    def abort(self, request_id: str) -> None:
        """Stops a request at any stage; its end arrives as a delta."""
        in_flight = self._in_flight.get(request_id)
        if in_flight is None:
            return
        if request_id in self._canaries:
            self._end_canary(request_id)
        elif in_flight.dispatched:
            self._manager.abort_request(request_id)
        elif in_flight.task is not None:
            # SGLang sends an abort of what it has not dispatched yet to a scheduler that does not
            # know the id, and swallows every later one. Cancelling removes the request's state
            # instead, and nothing was sent.
            in_flight.task.cancel()

    def answer_canary(self) -> None:
        """Ends the canary sent last: a busy scheduler has answered one, without saying which.

        Imprecise where an earlier canary has had no answer in time, and its rank gives it now: the
        answer is then credited to another rank's. That rank, if it does not answer either, is found
        out with its next canary.
        """
        if self._canaries:
            self._end_canary(next(reversed(self._canaries)))

    def _end_canary(self, request_id: str) -> None:
        """Forgets a canary that SGLang will never end: a busy scheduler drops it, and does not echo
        its abort.
        """
        in_flight = self._canaries[request_id]
        # first, or its cancellation sends an abort and keeps the state
        self._manager.rid_to_state.pop(request_id, None)
        if in_flight.task is not None:
            in_flight.task.cancel()
        self.deliver(
            [
                self._end(
                    Delta(
                        request_id,
                        in_flight.tokens_sent,
                        b"",
                        Finished("abort", 0, in_flight.tokens_sent),
                    )
                )
            ]
        )

    def _expire(self, in_flight: InFlight) -> None:
        """Drops a request without a token before its prefill, since its deadline has come.

        The frontend aborts the others.
        """
        if in_flight.tokens_sent == 0:
            in_flight.expired = True
            self.abort(in_flight.request.request_id)

    def on_step(self, deltas: Sequence[Delta]) -> None:
        """Passes on what an engine step put out."""
        passed_on: list[Delta] = []
        in_flight_by_id = self._in_flight
        for delta in deltas:
            in_flight = in_flight_by_id.get(delta.request_id)
            if in_flight is None:
                continue  # it comes after the end that stop() gave its requests
            nearly_all = in_flight.reader is None and delta.end is None
            passed_on.append(delta if nearly_all else self._whole_or_broken(in_flight, delta))
        self.deliver(passed_on)

    def _whole_or_broken(self, in_flight: InFlight, delta: Delta) -> Delta:
        """Returns the delta as it goes out, or the end of its request where that fails.

        What fails here, at whatever place, is the end of this request and of no other.
        """
        try:
            return self._passed_on(in_flight, delta)
        except Exception:
            log.exception("request %s ends, since what it put out cannot be told", delta.request_id)
            self._forget(delta.request_id)
            if delta.end is None:
                self._manager.abort_request(delta.request_id)
            return Delta(delta.request_id, delta.start, b"", BROKEN)

    def _passed_on(self, in_flight: InFlight, delta: Delta) -> Delta:
        engine_goes_on = delta.end is None
        if in_flight.reader is not None:
            delta = in_flight.read(delta)
            if engine_goes_on and delta.end is not None:
                self._manager.abort_request(delta.request_id)
        return self._end(delta) if delta.end is not None else delta

    def _end(self, delta: Delta) -> Delta:
        in_flight = self._in_flight[delta.request_id]
        if in_flight.expired and isinstance(delta.end, Finished) and delta.end.reason == "abort":
            delta = Delta(delta.request_id, delta.start, delta.token_ids, deadline_failed())
        # without the token that SGLang makes of whatever it refuses
        elif isinstance(delta.end, Failed):
            delta = Delta(
                delta.request_id,
                delta.start,
                b"",
                in_the_clients_words(in_flight.request, delta.end),
            )
        self._forget(delta.request_id)
        return delta

    def _forget(self, request_id: str) -> None:
        in_flight = self._in_flight.pop(request_id)
        self._canaries.pop(request_id, None)
        if in_flight.expiry is not None:
            in_flight.expiry.cancel()

    def _on_task_done(self, in_flight: InFlight, task: asyncio.Task[None]) -> None:
        """Ends a request that was refused, failed, or cancelled before it was dispatched, so that
        no output ended it.
        """
        self.tasks.discard(task)
        request_id = in_flight.request.request_id
        error = None if task.cancelled() else task.exception()
        if self._in_flight.get(request_id) is not in_flight:
            if error is not None:
                log.error("request %s failed after its end", request_id, exc_info=error)
            return
        end = (
            Finished("abort", tokens_of(in_flight.request), 0)
            if task.cancelled()
            else failed(error)
        )
        self.on_step([Delta(request_id, in_flight.tokens_sent, b"", end)])

    def stop(self) -> None:
        """Takes no more; what runs fails as lost, so that a frontend may move it."""
        self._stopping = True
        self._lose("the worker stopped before the request was finished")

    def end_all(self, *, lost: bool) -> None:
        """Ends what runs, as aborted; or as lost, so that a frontend may move it."""
        for request_id in list(self._in_flight):
            self.abort(request_id)
        if lost:
            self._lose("the worker gave the request back")

    def _lose(self, reason: str) -> None:
        lost, in_flight = Failed(code=WorkerLost.code, message=reason), self._in_flight.items()
        if deltas := [Delta(each, of.tokens_sent, b"", lost) for each, of in in_flight]:
            self.on_step(deltas)

    def drop(self) -> None:
        """Takes no more and forgets what runs: nobody is told any more."""
        self._stopping = True
        self._in_flight.clear()

    def cancel(self) -> None:
        """Cancels the tasks in which SGLang handles requests."""
        for task in self.tasks:
            task.cancel()
