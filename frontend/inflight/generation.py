"""Runs one HTTP request's choices: dispatched to workers, moved when those are lost, merged as
their tokens arrive, turned into text.
"""

import asyncio
from bisect import insort
from collections.abc import Coroutine, Sequence
from contextvars import copy_context
from typing import Final

from msgspec.structs import replace

from frontend.fleet.model_entry import ModelEntry
from frontend.fleet.wakeup import Send, Wakeup, nothing_to_send
from frontend.inflight.choice import Choice
from frontend.inflight.moved import Follower, Moved, Tell
from frontend.inflight.recovery import Lost, Recovery
from frontend.inflight.siblings import Sibling, siblings
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.offer import Offer
from frontend.routing.route import RouteRequest
from frontend.text.output.choice_text import OutputRules
from frontend.text.output.gain import Answer
from protocol.errors import MeshError
from protocol.generation import Finished, Generate

PLACED_A_TURN: Final = 32
"""Counts the choices that are dispatched in one turn of the loop where all find room: some 2 ms."""


class Generation:
    """A Generation runs several choices at once; `close`, which must be called, aborts what still
    runs.

    Args:
        promise: None where nothing was promised.
    """

    __slots__ = (
        "_begun",
        "_context",
        "_dispatch",
        "_entry",
        "_failure",
        "_live",
        "_loop",
        "_moved",
        "_promise",
        "_recovery",
        "_seeking",
        "_tell",
        "_wakeup",
        "choices",
    )

    def __init__(
        self,
        dispatch: Dispatch,
        entry: ModelEntry,
        recovery: Recovery,
        promise: Follower | None = None,
    ) -> None:
        self.choices: list[Choice] = []
        """Lists the choices that are on a worker, or were, by index."""
        self._dispatch = dispatch
        self._entry = entry
        self._recovery = recovery
        self._promise = promise
        self._live: list[Choice] = []
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        """Is the handler's, in which a choice is moved, whoever finds that it is lost."""
        self._wakeup = Wakeup(self._loop, dispatch.rounds)
        self._moved: Moved = []
        """Holds what a turn gained that was left to the handler, until it takes it."""
        self._seeking: list[asyncio.Task[None]] = []
        """Lists the tasks that look for a worker while the other choices go on: one for choices
        that were never placed, and one per lost choice.
        """
        self._begun: dict[int, asyncio.Event] = {}
        """Maps a choice's index to the event that its siblings wait for, while it has no token."""
        self._failure: Exception | None = None
        self._tell: Tell | None = None

    async def start(
        self, requests: Sequence[tuple[Generate, RouteRequest]], rules: OutputRules
    ) -> None:
        """Sends the requests to workers; choice i is requests[i].

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
        """Tells whether some choice is unfinished.

        What sought and found does no more, though the loop has not told so yet: nothing would wake
        who waited for it.
        """
        return bool(self._live) or not all(map(_has_found, self._seeking))

    async def advance(self, tell: Tell | None = None) -> Moved:
        """Waits until something moved; returns each choice that did, with what it gained (nothing
        only at its end).

        Args:
            tell: takes what is gained in the midst of choices, of which nothing is returned then.
        Raises:
            MeshError: a choice failed, and with it the request.
        """
        self._tell = tell
        deal = None if tell is None or self._promise is not None else self._deal
        while self._failure is None:
            await self._wakeup.wait(deal)
            moved, self._moved = self._moved or self._collect()[0], []
            if moved:
                if self._promise is not None:
                    await self._promise.follow(moved)
                return moved
        raise self._failure

    def _deal(self) -> Send | None:
        """Returns what is sent of what was gained, if that is all there is to do; keeps it for the
        handler otherwise.
        """
        if self._failure is not None:
            return None
        moved, ended = self._collect()
        if not moved:
            return nothing_to_send
        send = None if ended or self._tell is None else self._tell(moved)
        if send is None:
            self._moved = moved
        return send

    def _collect(self) -> tuple[Moved, bool]:
        """Returns what was gained since the last call, and whether a choice ended with it; lets go
        on elsewhere what was lost.
        """
        moved: Moved = []
        ended = False
        for choice in self._live:
            gain = choice.advance()
            if choice.finish_reason is not None:
                ended = True
                moved.append((choice, gain))
            elif gain.text or gain:
                moved.append((choice, gain))
            if self._begun and (choice.stream.tokens_received or choice.finish_reason is not None):
                self._note_begun(choice.index)
            if choice.stream.error is not None and (error := choice.take_loss()) is not None:
                self._seek(self._move(choice, error))
        if ended:
            self._retire()
        return moved, ended

    async def finish(self) -> list[Answer]:
        """Waits for every choice; returns their whole answers, by index.

        Raises:
            MeshError: a choice failed, and with it the request.
        """
        answers: dict[int, Answer] = {}
        while self.running:
            for choice, gain in await self.advance():
                answers.setdefault(choice.index, Answer()).add(gain)
        return [answers[choice.index] for choice in self.choices]

    @property
    def model(self) -> str:
        """Returns the model's name."""
        return self._entry.served.card.name

    def abort(self) -> bool:
        """Ends every choice with what it has, as its client wishes, as an Abortable."""
        if self._seeking or not self.choices or any(choice.stream.error for choice in self._live):
            return False
        for choice in self._live:
            self._dispatch.abort(choice.stream)
            if choice.stream.finished is None:
                choice.stream.finished = Finished(
                    "abort",
                    choice.route.prompt_tokens,
                    choice.stream.tokens_received,
                    choice.cached_tokens,
                    cached_below=choice.cached_below,
                )
        self._wakeup.notify()
        return True

    def close(self) -> None:
        """Aborts what still runs: the client left, the deadline passed or a choice failed."""
        for task in self._seeking:
            task.cancel()
        for choice in self._live:
            self._dispatch.abort(choice.stream)
        self._live.clear()
        self._tell = None  # leads to the exchange, which leads here

    async def _place_others(
        self, families: Sequence[Sequence[Sibling]], rules: OutputRules
    ) -> None:
        """Places the first choice of every prompt, then the rest of each: where a long prompt is
        shared, once it has been computed.
        """
        for first, *_ in families[1:]:
            await self._place(first, rules)
        for first, *others in families:
            if first.begun is not None:
                await first.begun.wait()
            for sibling in others:
                await self._place(sibling, rules)

    async def _place(self, sibling: Sibling, rules: OutputRules) -> None:
        # Before and not behind: what seeks ends with a choice that runs, since `advance` waits for
        # one.
        if self.choices and len(self.choices) % PLACED_A_TURN == 0:
            await asyncio.sleep(0)
        request, route, index = sibling.request, sibling.route, sibling.index
        offer = (
            Offer(request, route, admitted=True)
            if self.choices
            else Offer(self._in_time(request), route)
        )
        stream = await self._dispatch.place(self._entry, offer, self._wakeup)
        if sibling.begun is not None:
            route.beside = stream.prefill_placement.rank.key
            self._begun[index] = sibling.begun
        text = self._entry.served.choice_text(rules) if request.reading is None else None
        choice = Choice(index, request, route, stream, text, rules=rules)
        if self.choices:
            insort(self.choices, choice, key=lambda placed: placed.index)
        else:
            self.choices.append(choice)
        self._live.append(choice)

    def _in_time(self, request: Generate) -> Generate:
        """Returns the request as a worker is told of it: its deadline is that of the first token,
        behind which there is time for the others.
        """
        begin_by = self._entry.answer_times.begin_by(
            request.deadline_unix_ms / 1000,
            self._dispatch.unix_s(),
            request.sampling.max_new_tokens,
        )
        return replace(request, deadline_unix_ms=int(1000 * begin_by))

    async def _move(self, choice: Choice, error: MeshError) -> None:
        """Lets a choice whose leg ended before it did go on elsewhere."""
        lost = Lost(choice.request, choice.route, choice.stream, choice.take_leg(), error)
        stream = await self._recovery.move(self._entry, lost, choice.trail, self._wakeup)
        if stream is not None:
            choice.go_on(stream)
        else:  # nothing was left to generate but the worker's word that it was the end
            choice.stream.finished = Finished("length", choice.route.prompt_tokens, 0)

    def _seek(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work, context=self._context)
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
                self._dispatch.abort(
                    stream
                )  # a stop string ends it here while the engine still runs
        self._live = [choice for choice in self._live if choice.finish_reason is None]


def _has_found(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
