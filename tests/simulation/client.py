"""A client with one request: what it asks, when it leaves, and what it got.

The way through the frontend is that of frontend/api/launching.py, without HTTP.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from frontend.api.fields.nvext import NvExt
from frontend.api.fields.sampling import sampling_of_choice
from frontend.api.prompts.media import padded_runs
from frontend.drain import refusal
from frontend.fleet.model_entry import DECODE, PREFILL, WHOLE, ModelEntry
from frontend.fleet.partings import Pair
from frontend.fleet.worker import Phase
from frontend.inflight.generation import Generation
from frontend.inflight.migration import Trail
from frontend.inflight.moved import Moved
from frontend.models.services import IMAGES
from frontend.routing.route import RouteRequest
from frontend.text.output.choice_text import ChoiceText
from protocol.errors import DeadlineExceeded, MeshError
from protocol.generation import Generate, Sampling
from protocol.media import PromptMedia
from tests.simulation.drawing import Drawn, Received, order_of
from tests.simulation.frontend import SimulatedFrontend, asking
from tests.simulation.model import RecordedRules, demo_tokenizer, undisturbed

MODEL = "kvmesh-demo"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as a seed chose it.

    Attributes:
        at_s: virtual seconds after the beginning.
        leaves_after_s: the client leaves then; None if it stays.
        twin_of: it repeats the request of that number once this has ended.
        media: its pictures, with their places in the prompt.
    """

    number: int
    frontend: int
    at_s: float
    prompt: bytes
    sampling: Sampling
    timeout_s: float
    n: int = 1
    stream: bool = True
    stops: tuple[str, ...] = ()
    priority: int = 0
    leaves_after_s: float | None = None
    twin_of: int | None = None
    media: tuple[PromptMedia, ...] = ()
    drawn: Drawn | None = None
    """It asks for pictures, if for anything."""


@dataclass
class Outcome:
    """How a request ended.

    Attributes:
        interrupted: it was moved after its first token.
        error: None for a complete answer.
        defect: what it ended with that is no error of the tree.
        ranks_left: workers that the frontend could have offered it to when it failed.
        missed: those that it had lost sight of a moment before, and those that were about to join.
    """

    ended: bool = False
    defect: BaseException | None = None
    left: bool = False
    error: MeshError | None = None
    ended_at: float = 0.0
    deadline: float = 0.0
    texts: list[str] = field(default_factory=list)
    reasons: list[str | None] = field(default_factory=list)
    completion_tokens: list[int] = field(default_factory=list)
    moves: list[int] = field(default_factory=list)
    interrupted: bool = False
    ranks_left: list[str] = field(default_factory=list)
    missed: set[str] = field(default_factory=set)
    refused_by: set[str] = field(default_factory=set)


class Client:
    """Runs one request in a frontend's process."""

    def __init__(
        self, asked: Asked, frontend: SimulatedFrontend, on_end: "Callable[[Client], None]"
    ) -> None:
        self.asked = asked
        self.frontend = frontend
        self.outcome = Outcome(deadline=frontend.loop.time() + asked.timeout_s)
        self.rules = RecordedRules(stops=asked.stops, choices=[])
        self.received = Received()
        self.asked_at = frontend.loop.time()
        self._limit: asyncio.Timeout | None = None
        self._cut_off_with: MeshError | None = None
        self._on_end = on_end
        self.task = None if frontend.process.dead else frontend.process.begin(self._ask())
        if self.task is not None:
            self.task.add_done_callback(self._end)

    def leave(self) -> None:
        """Close the connection."""
        if self.task is not None:
            self.task.cancel()

    def choice_request(self, index: int) -> Generate:
        """What is asked for one choice, but for the id."""
        return Generate(
            "0" * 32,
            MODEL,
            self.asked.prompt,
            sampling_of_choice(self.asked.sampling, index),
            1 << 52,
            media=list(self.asked.media),
        )

    def expected(self, index: int) -> tuple[bytes, str]:
        """Tokens and text of an undisturbed run."""
        tokens, end = undisturbed(self.choice_request(index))
        text = ChoiceText(
            demo_tokenizer().detokenizing.new(skip_special_tokens=True),
            RecordedRules(stops=self.asked.stops),
        )
        return tokens, text.add(tokens, end)

    def cut_off(self, error: MeshError) -> None:
        """As Exchange: end with this error."""
        if self._limit is not None and not self._limit.expired():
            self._cut_off_with = error
            self._limit.reschedule(0.0)

    async def _ask(self) -> None:
        asking.set(self.asked.number)
        drain = self.frontend.assembly.drain
        if drain.refusing:
            self.outcome.error = refusal()
            return
        drain.enter(self)
        try:
            async with asyncio.timeout_at(self.outcome.deadline) as self._limit:
                await (self._generate() if self.asked.drawn is None else self._draw())
        except TimeoutError:
            self.outcome.error = self._cut_off_with or DeadlineExceeded("too late")
        except MeshError as error:
            self.outcome.error = error
        finally:
            drain.leave(self)

    def _end(self, task: asyncio.Task[None]) -> None:
        """Also of a request that was cancelled before the frontend had looked at it."""
        outcome = self.outcome
        outcome.ended, outcome.ended_at = True, self.frontend.loop.time()
        outcome.left = task.cancelled()
        outcome.defect = None if task.cancelled() else task.exception()
        self._on_end(self)

    async def _generate(self) -> None:
        frontend = self.frontend
        entry = frontend.runner.models.named(MODEL, priority=self.asked.priority)
        generation = Generation(frontend.mesh, entry, frontend.recovery)
        outcome = self.outcome
        try:
            await generation.start(self._requests(), self.rules)
            outcome.texts = [""] * self.asked.n
            tell = (lambda moved: partial(self._tell, moved)) if self.asked.number % 2 else None
            while generation.running:
                self._tell(await generation.advance(tell))
        except MeshError:
            outcome.ranks_left = _left(entry, [each.trail for each in generation.choices])
            outcome.missed = self._missed(entry)
            raise
        finally:
            outcome.reasons = [choice.finish_reason for choice in generation.choices]
            outcome.completion_tokens = [choice.completion_tokens for choice in generation.choices]
            outcome.moves = [choice.trail.moves for choice in generation.choices]
            outcome.interrupted = any(choice.trail.output for choice in generation.choices)
            outcome.refused_by = {
                worker_id for choice in generation.choices for worker_id in choice.trail.refused_by
            }
            generation.close()

    def _tell(self, moved: Moved) -> None:
        for choice, gain in moved:
            self.outcome.texts[choice.index] += gain.text

    async def _draw(self) -> None:
        """As frontend/api/images/endpoint.py."""
        frontend, outcome, received = self.frontend, self.outcome, self.received
        entry = frontend.runner.models.named(MODEL, IMAGES, priority=self.asked.priority)
        order = order_of(self.asked, frontend.new_request_id(), MODEL, outcome.deadline)
        diffusion = frontend.runner.diffusion(entry, order, NvExt())
        leg = ""
        try:
            await diffusion.start()
            async for progress in diffusion.progress():
                assert diffusion._stream is not None
                if leg != (leg := diffusion._stream.request_id):
                    received.percents.append([])
                received.percents[-1].append(progress.percent)
            assert diffusion.made is not None
            for output in diffusion.made.outputs:
                pieces = [each async for each in frontend.runner.outputs.pieces(output)]
                received.pictures.append(b"".join(pieces))
        except MeshError:
            received.lost = diffusion.made is not None
            if received.lost:
                return
            refused_by = diffusion._trail.refused_by
            outcome.ranks_left = [] if entry.refused(refused_by) else sorted(entry.worker_of)
            outcome.missed = self._missed(entry)
            raise
        finally:
            outcome.moves = [diffusion._trail.moves]
            outcome.refused_by = set(diffusion._trail.refused_by)
            diffusion.close()

    def _missed(self, entry: ModelEntry) -> set[str]:
        """Where one stage is lacking, those of it."""
        registry, lacks = self.frontend.mesh.registry, entry.lacks
        joining = [
            (worker.worker_id, worker.hello.stage)
            for worker in registry.workers.values()
            if worker.phase is Phase.JOINING
        ]
        missed = [(missed.worker_id, missed.stage) for missed in registry.missed]
        return {name for name, stage in [*joining, *missed] if not lacks or stage in lacks}

    def _requests(self) -> list[tuple[Generate, RouteRequest]]:
        asked = self.asked
        route = RouteRequest(asked.prompt, media=padded_runs(asked.media))
        return [
            (
                Generate(
                    request_id=self.frontend.new_request_id(),
                    model=MODEL,
                    token_ids=asked.prompt,
                    sampling=self.choice_request(index).sampling,
                    deadline_unix_ms=int(self.outcome.deadline * 1000),
                    stream=asked.stream or bool(asked.stops),
                    priority=asked.priority,
                    media=list(asked.media),
                ),
                route,
            )
            for index in range(asked.n)
        ]


def _left(entry: ModelEntry, trails: Sequence[Trail]) -> list[str]:
    """Workers that a request with these trails could have been offered to."""
    refused_by = set[str]().union(*(trail.refused_by for trail in trails))
    parted = set[Pair]().union(*(trail.parted for trail in trails))
    whole, prefill, decode = (
        {rank.worker_id for rank in entry.pool(stage)} - refused_by
        for stage in (WHOLE, PREFILL, DECODE)
    )
    pairs = {(first, second) for first in prefill for second in decode} - parted
    return sorted(entry.worker_of) if whole or pairs else []
