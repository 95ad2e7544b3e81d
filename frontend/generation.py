"""One HTTP request's choices: dispatched to workers, merged as their tokens arrive, turned into text under their stop rules."""

import asyncio
from collections.abc import Sequence
from typing import Literal

from frontend.mesh.mesh import Mesh
from frontend.mesh.registry import ModelEntry
from frontend.mesh.stream import RequestStream, Wakeup
from frontend.routing.route import Route
from frontend.text.output import ChoiceText, OutputRules
from protocol.errors import InvalidRequest, MeshError, NoWorker
from protocol.requests import Generate

WORKERS_TRIED_MAX = 3
"""Further workers that a request is offered to; one that fails on so many is more likely at fault itself."""

FinishReason = Literal["stop", "length", "abort"]


class Choice:
    """One of the completions that a request asked for."""

    __slots__ = ("_text", "failed_on", "finish_reason", "index", "request", "route", "stream")

    def __init__(self, index: int, request: Generate, route: Route, stream: RequestStream, text: ChoiceText) -> None:
        self.index = index
        self.request = request
        self.route = route
        self.stream = stream
        self.failed_on: set[str] = set()
        """Ids of workers that gave the request up before its first token."""
        self.finish_reason: FinishReason | None = None
        """None while it runs."""
        self._text = text

    @property
    def completion_tokens(self) -> int:
        """Tokens generated, those of the stop included; what the engine made behind a stop string, before it was told, is not."""
        if self._text.stopped_after_tokens is not None:
            return self._text.stopped_after_tokens
        finished = self.stream.finished
        return finished.completion_tokens if finished is not None else self.stream.tokens_received

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens the engine found in its cache; known at the end."""
        finished = self.stream.finished
        return finished.cached_tokens if finished is not None else 0

    def advance(self) -> str:
        """Text gained since the last call; sets `finish_reason` when it was the last."""
        finished = self.stream.finished
        text = self._text.add(self.stream.take(), finished)
        if self._text.stopped_after_tokens is not None:
            self.finish_reason = "stop"
        elif finished is not None:
            self.finish_reason = finished.reason
        return text


class Generation:
    """Runs several choices at once. `close` must be called; it aborts what still runs."""

    def __init__(self, mesh: Mesh, entry: ModelEntry) -> None:
        self.choices: list[Choice] = []
        self._mesh = mesh
        self._entry = entry
        self._live: list[Choice] = []
        self._wakeup = Wakeup(asyncio.get_running_loop())

    async def start(self, requests: Sequence[tuple[Generate, Route]], rules: OutputRules) -> None:
        """Send every request to a worker; choice i is requests[i]. Requests of one prompt share its route.

        Raises:
            NoWorker, Overloaded: a request found no worker.
        """
        for index, (request, route) in enumerate(requests):
            stream = await self._mesh.dispatch(self._entry, request, route, self._wakeup)
            choice = Choice(index, request, route, stream, self._entry.served.choice_text(rules))
            self.choices.append(choice)
            self._live.append(choice)

    @property
    def running(self) -> bool:
        """Whether some choice is unfinished."""
        return bool(self._live)

    async def advance(self) -> list[tuple[Choice, str]]:
        """Wait until something moved; return each choice that did, with its new text (empty only at its end).

        Raises:
            MeshError: a choice failed, and with it the request.
        """
        while True:
            await self._wakeup.wait()
            moved: list[tuple[Choice, str]] = []
            for choice in self._live:
                if choice.stream.error is not None:
                    await self._try_elsewhere(choice, choice.stream.error)
                text = choice.advance()
                if text or choice.finish_reason is not None:
                    moved.append((choice, text))
            if any(choice.finish_reason for choice, _ in moved):
                self._retire()
            if moved:
                return moved

    async def finish(self) -> list[str]:
        """Wait for every choice; return their whole texts, by index.

        Raises:
            MeshError: a choice failed, and with it the request.
        """
        pieces: list[list[str]] = [[] for _ in self.choices]
        while self.running:
            for choice, text in await self.advance():
                pieces[choice.index].append(text)
        return ["".join(texts) for texts in pieces]

    def close(self) -> None:
        """Abort what still runs: the client left, the deadline passed or a choice failed."""
        for choice in self._live:
            self._mesh.abort(choice.stream)
        self._live.clear()

    async def _try_elsewhere(self, choice: Choice, error: MeshError) -> None:
        """Send a request that failed before its first token to a worker that has not failed it yet.

        Raises:
            MeshError: what it failed with, if trying again is no use or nobody is left to try.
        """
        choice.failed_on.add(choice.stream.worker_id)
        if not error.retryable or choice.stream.tokens_received or len(choice.failed_on) > WORKERS_TRIED_MAX:
            raise error
        try:
            choice.stream = await self._mesh.dispatch(self._entry, choice.request, choice.route, self._wakeup, avoid=choice.failed_on)
        except (NoWorker, InvalidRequest):  # the latter: the only worker that would do is one of those
            raise error from None

    def _retire(self) -> None:
        for choice in self._live:
            if choice.finish_reason is not None:
                self._mesh.abort(choice.stream)  # a stop string ends it here while the engine still runs
        self._live = [choice for choice in self._live if choice.finish_reason is None]
