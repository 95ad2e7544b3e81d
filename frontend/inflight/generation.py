"""One HTTP request's choices: dispatched to workers, moved when those are lost, merged as their
tokens arrive, turned into text.
"""

import asyncio
from bisect import insort
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from msgspec.structs import replace

from frontend.fleet.registry import ModelEntry
from frontend.fleet.stream import RequestStream, Wakeup
from frontend.inflight.migration import Trail
from frontend.inflight.recovery import Lost, Recovery
from frontend.mesh.membership import Mesh
from frontend.mesh.offer import Offer
from frontend.routing.route import RouteRequest
from frontend.text.output.choice_text import ChoiceText, OutputRules
from frontend.text.output.gain import Answer, Gain
from protocol.errors import MeshError
from protocol.generation import Finished, Generate
from protocol.tokens import TOKEN_ID_BYTES, count_tokens

SHARED_TOKENS_MIN: Final = 512
"""Prompt tokens that siblings would compute again, from which on it is worth a step's wait to share
the prompt's cache: what an engine computes in a step hardly longer than one for a token.
"""

FinishReason = Literal["stop", "length", "tool_calls", "abort"]


class Choice:
    """One of the completions that a request asked for.

    Attributes:
        request, route: what the client asked for, however often it moved since.
        stream: its present leg.
    """

    __slots__ = (
        "_cached",
        "_calls",
        "_leg",
        "_rules",
        "_text",
        "_told",
        "finish_reason",
        "index",
        "request",
        "route",
        "stream",
        "trail",
    )

    def __init__(
        self,
        index: int,
        request: Generate,
        route: RouteRequest,
        stream: RequestStream,
        text: ChoiceText | None,
        *,
        rules: OutputRules,
    ) -> None:
        self.index = index
        self.request = request
        self.route = route
        self.stream = stream
        self.trail = Trail()
        self.finish_reason: FinishReason | None = None
        """None while it runs."""
        self._leg = bytearray()
        """What this leg generated, packed u32, for the next one to go on from: four bytes a
        token.
        """
        self._told: MeshError | None = None
        self._cached = 0
        self._calls = False
        """It has called a tool."""
        self._rules = rules
        self._text = text
        """None where the worker reads the text."""

    @property
    def completion_tokens(self) -> int:
        """Tokens generated, those of the stop included; what the engine made behind a stop string,
        before it was told, is not.
        """
        if self._rules.shows_nothing:
            return 0
        if self._stopped_after_tokens is not None:
            return self._stopped_after_tokens
        finished = self.stream.finished
        leg_tokens = (
            finished.completion_tokens if finished is not None else self.stream.tokens_received
        )
        return count_tokens(self.trail.output) + leg_tokens

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens the engine found in its cache; known from the first token on.

        After a move: the last engine, of the client's own prompt.
        """
        finished = self.stream.finished
        return min(
            finished.cached_tokens if finished is not None else self._cached,
            self.route.prompt_tokens,
        )

    @property
    def reasoning_tokens(self) -> int:
        """Of the completion's tokens, those of its thinking; known at the end."""
        return self.stream.finished.reasoning_tokens if self.stream.finished is not None else 0

    @property
    def matched_stop(self) -> str | None:
        """The stop string, or pattern, that ended it."""
        if self._text is not None and self._text.matched_stop is not None:
            return self._text.matched_stop
        return self.stream.finished.matched_stop if self.stream.finished is not None else None

    @property
    def output(self) -> bytes:
        """The tokens generated so far, packed u32: those that `completion_tokens` counts."""
        return (self.trail.output + bytes(self._leg))[: self.completion_tokens * TOKEN_ID_BYTES]

    def advance(self) -> Gain:
        """What was gained since the last call; sets `finish_reason` when it was the last."""
        finished, packed, extras = (
            self.stream.finished,
            self.stream.take(),
            self.stream.take_extras(),
        )
        self._leg += packed
        gain = Gain()
        if self._text is not None:
            gain.text = self._text.add(packed, finished)
        if extras:
            gain.take(packed, extras)
            self._cached = next(
                (extra.cached_tokens for extra in extras if extra.cached_tokens is not None),
                self._cached,
            )
            self._calls = self._calls or bool(gain.calls)
        if self._stopped_after_tokens is not None:
            self.finish_reason = "stop"
        elif finished is not None:
            self.finish_reason = (
                "tool_calls" if self._calls and finished.reason == "stop" else finished.reason
            )
        if self._rules.shows_nothing:
            return self._silenced(gain)
        if gain.token_ids and self.finish_reason is not None:
            self._cut_scores(gain)
        return gain

    def _silenced(self, gain: Gain) -> Gain:
        if self.finish_reason == "stop":
            self.finish_reason = "length"
        return Gain(prompt_logprobs=gain.prompt_logprobs)

    def _cut_scores(self, gain: Gain) -> None:
        """Nothing is told of a stop token that is not shown, nor of what the engine made behind a
        stop string before it was told.
        """
        end = self.completion_tokens
        if self._stopped_after_tokens is None and not (
            self._rules.include_stop or self._rules.scores_stop
        ):
            end -= (
                self.stream.finished is not None
                and self.stream.finished.matched_token_id is not None
            )
        start = (
            count_tokens(self.trail.output)
            + len(self._leg) // TOKEN_ID_BYTES
            - count_tokens(gain.token_ids)
        )
        gain.token_ids = gain.token_ids[: max(0, end - start) * TOKEN_ID_BYTES]

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


@dataclass(frozen=True, slots=True)
class Sibling:
    """One of the choices that one prompt is to have.

    Attributes:
        begun: set when it has a token, for which its siblings wait; None where nobody waits for it.
    """

    index: int
    request: Generate
    route: RouteRequest
    begun: asyncio.Event | None = None


def siblings(requests: Sequence[tuple[Generate, RouteRequest]]) -> list[list[Sibling]]:
    """The choices, prompt by prompt.

    Requests of one prompt share its route.

    An engine that gets several prompts of one beginning in one step computes each of them whole. So
    where that would be much, the others wait until the first one's prompt is computed, and then
    follow it to its rank.
    """
    families: dict[int, list[Sibling]] = {}
    for index, (request, route) in enumerate(requests):
        families.setdefault(id(route), []).append(Sibling(index, request, route))
    for family in families.values():
        first = family[0]
        if (len(family) - 1) * first.route.prompt_tokens >= SHARED_TOKENS_MIN:
            # Its first token must be seen, even if nobody reads it as it comes.
            family[0] = Sibling(
                first.index, replace(first.request, stream=True), first.route, asyncio.Event()
            )
    return list(families.values())


class Follower(Protocol):
    """Holds choices to what was promised of them."""

    async def follow(self, moved: Iterable[tuple[Choice, Gain]]) -> None:
        """Take what choices have gained, before anybody else does; raises a MeshError to have the
        request fail.
        """
        ...


class Generation:
    """Runs several choices at once. `close` must be called; it aborts what still runs.

    Args:
        promise: None where nothing was promised.
    """

    def __init__(
        self, mesh: Mesh, entry: ModelEntry, recovery: Recovery, promise: Follower | None = None
    ) -> None:
        self.choices: list[Choice] = []
        """Those that are on a worker, or were, by index."""
        self._mesh = mesh
        self._entry = entry
        self._recovery = recovery
        self._promise = promise
        self._live: list[Choice] = []
        self._loop = asyncio.get_running_loop()
        self._wakeup = Wakeup(self._loop)
        self._seeking: list[asyncio.Task[None]] = []
        """Those who look for a worker while the other choices go on: one for choices that were
        never placed, and one per lost choice.
        """
        self._begun: dict[int, asyncio.Event] = {}
        """By index, what the siblings of choices without a token wait for."""
        self._failure: Exception | None = None

    async def start(
        self, requests: Sequence[tuple[Generate, RouteRequest]], rules: OutputRules
    ) -> None:
        """Send the requests to workers; choice i is requests[i].

        Requests of one prompt share its route, and follow each other.

        Returns when the first one is on its way. The others follow as soon as there is room.

        Raises:
            PoisonRequest: workers died of its like.
            NoWorker, Overloaded: it found no worker.
        """
        for request, _ in requests:
            self._recovery.check(request)
        families = siblings(requests)
        await self._place(families[0][0], rules)
        if len(requests) > 1:
            self._seek(self._place_others(families, rules))

    @property
    def running(self) -> bool:
        """Whether some choice is unfinished."""
        return bool(self._live or self._seeking)

    async def advance(self) -> list[tuple[Choice, Gain]]:
        """Wait until something moved; return each choice that did, with what it gained (nothing
        only at its end).

        Raises:
            MeshError: a choice failed, and with it the request.
        """
        while self._failure is None:
            await self._wakeup.wait()
            moved: list[tuple[Choice, Gain]] = []
            for choice in self._live:
                gain = choice.advance()
                if self._begun and (
                    choice.stream.tokens_received or choice.finish_reason is not None
                ):
                    self._note_begun(choice.index)
                if choice.finish_reason is not None or gain:
                    moved.append((choice, gain))
                if (error := choice.take_loss()) is not None:
                    self._seek(self._move(choice, error))
            if any(choice.finish_reason for choice, _ in moved):
                self._retire()
            if moved:
                if self._promise is not None:
                    await self._promise.follow(moved)
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

    def abort(self) -> bool:
        """End every choice with what it has, as its client wishes; False if some have no worker,
        and so nothing to end with.
        """
        if self._seeking or not self.choices or any(choice.stream.error for choice in self._live):
            return False
        for choice in self._live:
            self._mesh.abort(choice.stream)
            if choice.stream.finished is None:
                choice.stream.finished = Finished(
                    "abort",
                    choice.route.prompt_tokens,
                    choice.stream.tokens_received,
                    choice.cached_tokens,
                )
        self._wakeup.notify()
        return True

    def close(self) -> None:
        """Abort what still runs: the client left, the deadline passed or a choice failed."""
        for task in self._seeking:
            task.cancel()
        for choice in self._live:
            self._mesh.abort(choice.stream)
        self._live.clear()

    async def _place_others(
        self, families: "Sequence[Sequence[Sibling]]", rules: OutputRules
    ) -> None:
        """First the first of every prompt, then the rest of each: where a long prompt is shared,
        once it has been computed.
        """
        for first, *_ in families[1:]:
            await self._place(first, rules)
        for first, *others in families:
            if first.begun is not None:
                await first.begun.wait()
            for sibling in others:
                await self._place(sibling, rules)

    async def _place(self, sibling: "Sibling", rules: OutputRules) -> None:
        request, route, index = sibling.request, sibling.route, sibling.index
        offer = (
            Offer(request, route, admitted=True)
            if self.choices
            else Offer(self._in_time(request), route)
        )
        stream = await self._mesh.dispatch(self._entry, offer, self._wakeup)
        if sibling.begun is not None:
            route.beside = stream.placement.rank.key
            self._begun[index] = sibling.begun
        text = self._entry.served.choice_text(rules) if request.reading is None else None
        choice = Choice(index, request, route, stream, text, rules=rules)
        insort(self.choices, choice, key=lambda placed: placed.index)
        self._live.append(choice)

    def _in_time(self, request: Generate) -> Generate:
        """The request as a worker is told of it: its deadline is that of the first token, behind
        which there is time for the others.
        """
        begin_by = self._entry.answer_times.begin_by(
            request.deadline_unix_ms / 1000, self._mesh.unix_s(), request.sampling.max_new_tokens
        )
        return replace(request, deadline_unix_ms=int(1000 * begin_by))

    async def _move(self, choice: Choice, error: MeshError) -> None:
        """Let a choice whose leg ended before it did go on elsewhere."""
        lost = Lost(choice.request, choice.route, choice.stream, choice.take_leg(), error)
        stream = await self._recovery.move(self._entry, lost, choice.trail, self._wakeup)
        if stream is not None:
            choice.stream = stream
        else:  # nothing was left to generate but the worker's word that it was the end
            choice.stream.finished = Finished("length", choice.route.prompt_tokens, 0)

    def _seek(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._seeking.append(task)
        task.add_done_callback(self._on_sought)

    def _on_sought(self, task: asyncio.Task[None]) -> None:
        self._seeking.remove(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failure = self._failure or error
        self._wakeup.notify()

    def _note_begun(self, index: int) -> None:
        begun = self._begun.pop(index, None)
        if begun is not None:
            begun.set()

    def _retire(self) -> None:
        now = self._loop.time()
        for choice in self._live:
            if choice.finish_reason is not None:
                stream = choice.stream
                if stream.begun_at:
                    self._entry.answer_times.note(stream.tokens_received, now - stream.begun_at)
                self._mesh.abort(stream)  # a stop string ends it here while the engine still runs
        self._live = [choice for choice in self._live if choice.finish_reason is None]
