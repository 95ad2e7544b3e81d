"""One HTTP request's choices: dispatched to workers, moved when those are lost, merged as their tokens arrive, turned into text."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Literal

from frontend.mesh.mesh import Mesh
from frontend.mesh.offer import Offer
from frontend.mesh.registry import ModelEntry
from frontend.mesh.stream import RequestStream, Wakeup
from frontend.migration import Trail
from frontend.recovery import Lost, Recovery
from frontend.routing.route import Route
from frontend.text.gain import Answer, Gain
from frontend.text.output import ChoiceText, OutputRules
from protocol.errors import MeshError
from protocol.replies import Finished
from protocol.requests import Generate
from protocol.tokens import count_tokens

FinishReason = Literal["stop", "length", "tool_calls", "abort"]


class Choice:
    """One of the completions that a request asked for.

    Attributes:
        request, route: what the client asked for, however often it moved since.
        stream: its present leg.
    """

    __slots__ = ("_calls", "_leg", "_text", "_told", "finish_reason", "index", "request", "route", "stream", "trail")

    def __init__(self, index: int, request: Generate, route: Route, stream: RequestStream, text: ChoiceText | None) -> None:
        self.index = index
        self.request = request
        self.route = route
        self.stream = stream
        self.trail = Trail()
        self.finish_reason: FinishReason | None = None
        """None while it runs."""
        self._leg = bytearray()
        """What this leg generated, packed u32, for the next one to go on from: four bytes a token."""
        self._told: MeshError | None = None
        self._calls = False
        """It has called a tool."""
        self._text = text
        """None where the worker reads the text."""

    @property
    def completion_tokens(self) -> int:
        """Tokens generated, those of the stop included; what the engine made behind a stop string, before it was told, is not."""
        if self._stopped_after_tokens is not None:
            return self._stopped_after_tokens
        finished = self.stream.finished
        leg_tokens = finished.completion_tokens if finished is not None else self.stream.tokens_received
        return count_tokens(self.trail.output) + leg_tokens

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens the engine found in its cache; known at the end. After a move: the last engine, of the client's own prompt."""
        finished = self.stream.finished
        return min(finished.cached_tokens, self.route.prompt_tokens) if finished is not None else 0

    @property
    def reasoning_tokens(self) -> int:
        """Of the completion's tokens, those of its thinking; known at the end."""
        return self.stream.finished.reasoning_tokens if self.stream.finished is not None else 0

    def advance(self) -> Gain:
        """What was gained since the last call; sets `finish_reason` when it was the last."""
        finished, packed, extras = self.stream.finished, self.stream.take(), self.stream.take_extras()
        self._leg += packed
        gain = Gain()
        if self._text is not None:
            gain.text = self._text.add(packed, finished)
        if extras:
            gain.take(packed, extras)
            self._calls = self._calls or bool(gain.calls)
        if self._stopped_after_tokens is not None:
            self.finish_reason = "stop"
        elif finished is not None:
            self.finish_reason = "tool_calls" if self._calls and finished.reason == "stop" else finished.reason
        return gain

    @property
    def _stopped_after_tokens(self) -> int | None:
        return None if self._text is None else self._text.stopped_after_tokens

    def take_loss(self) -> MeshError | None:
        """Why the leg ended before the choice did. Told once."""
        if self.finish_reason is not None or self.stream.error is self._told:
            return None
        self._told = self.stream.error
        return self._told

    def take_leg(self) -> bytes:
        """What the leg that ended has generated. Once."""
        leg = bytes(self._leg)
        self._leg.clear()
        return leg


class Generation:
    """Runs several choices at once. `close` must be called; it aborts what still runs."""

    def __init__(self, mesh: Mesh, entry: ModelEntry, recovery: Recovery) -> None:
        self.choices: list[Choice] = []
        """Those that are on a worker, or were, by index."""
        self._mesh = mesh
        self._entry = entry
        self._recovery = recovery
        self._live: list[Choice] = []
        self._wakeup = Wakeup(asyncio.get_running_loop())
        self._seeking: list[asyncio.Task[None]] = []
        """Those who look for a worker while the other choices go on: one for choices that were never placed, and one per lost choice."""
        self._failure: Exception | None = None

    async def start(self, requests: Sequence[tuple[Generate, Route]], rules: OutputRules) -> None:
        """Send the requests to workers; choice i is requests[i]. Requests of one prompt share its route.

        Returns when the first one is on its way. The others follow as soon as there is room.

        Raises:
            PoisonRequest: workers died of its like.
            NoWorker, Overloaded: it found no worker.
        """
        for request, _ in requests:
            self._recovery.check(request)
        await self._place(requests[:1], rules)
        if len(requests) > 1:
            self._seek(self._place(requests[1:], rules))

    @property
    def running(self) -> bool:
        """Whether some choice is unfinished."""
        return bool(self._live or self._seeking)

    async def advance(self) -> list[tuple[Choice, Gain]]:
        """Wait until something moved; return each choice that did, with what it gained (nothing only at its end).

        Raises:
            MeshError: a choice failed, and with it the request.
        """
        while self._failure is None:
            await self._wakeup.wait()
            moved: list[tuple[Choice, Gain]] = []
            for choice in self._live:
                gain = choice.advance()
                if choice.finish_reason is not None or gain:
                    moved.append((choice, gain))
                if (error := choice.take_loss()) is not None:
                    self._seek(self._move(choice, error))
            if any(choice.finish_reason for choice, _ in moved):
                self._retire()
            if moved:
                return moved
        raise self._failure

    async def finish(self) -> list[Answer]:
        """Wait for every choice; return their whole answers, by index.

        Raises:
            MeshError: a choice failed, and with it the request.
        """
        answers: dict[int, Answer] = {}
        while self.running:
            for choice, gain in await self.advance():
                answers.setdefault(choice.index, Answer()).add(gain)
        return [answers[choice.index] for choice in self.choices]

    def close(self) -> None:
        """Abort what still runs: the client left, the deadline passed or a choice failed."""
        for task in self._seeking:
            task.cancel()
        for choice in self._live:
            self._mesh.abort(choice.stream)
        self._live.clear()

    async def _place(self, requests: Sequence[tuple[Generate, Route]], rules: OutputRules) -> None:
        for request, route in requests:
            index = len(self.choices)
            stream = await self._mesh.dispatch(self._entry, Offer(request, route, admitted=index > 0), self._wakeup)
            text = self._entry.served.choice_text(rules) if request.reading is None else None
            choice = Choice(index, request, route, stream, text)
            self.choices.append(choice)
            self._live.append(choice)

    async def _move(self, choice: Choice, error: MeshError) -> None:
        """Let a choice whose leg ended before it did go on elsewhere."""
        lost = Lost(choice.request, choice.route, choice.stream, choice.take_leg(), error)
        stream = await self._recovery.move(self._entry, lost, choice.trail, self._wakeup)
        if stream is not None:
            choice.stream = stream
        else:  # nothing was left to generate but the worker's word that it was the end
            choice.stream.finished = Finished("length", choice.route.prompt_tokens, 0)

    def _seek(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._seeking.append(task)
        task.add_done_callback(self._on_sought)

    def _on_sought(self, task: asyncio.Task[None]) -> None:
        self._seeking.remove(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failure = self._failure or error
        self._wakeup.notify()

    def _retire(self) -> None:
        for choice in self._live:
            if choice.finish_reason is not None:
                self._mesh.abort(choice.stream)  # a stop string ends it here while the engine still runs
        self._live = [choice for choice in self._live if choice.finish_reason is None]
