"""Decides what becomes of a request whose worker is lost: how it goes on elsewhere, and when it
does not.

Pure.

It goes on as another request: the prompt and the tokens generated so far, with as many fewer to
generate. The next token is a function of those before it, so the answer continues as if nothing had
happened. What an engine counts beside them begins anew, which is penalties alone; SGLang's own
retraction does the same (SamplingBatchInfo.from_schedule_batch, srt/sampling/sampling_batch_info.py
at 0.5.23).

Whatever a worker died with may be what killed it. A request without a token at that moment, or
aboard for the second time, is a suspect: it moves alone, to a worker without another suspect, until
it is cleared by some tokens. If that worker dies first, it is proven. A worker that merely does not
answer may be busy with something that takes long, or starved of CPU: it takes two of those before,
and whoever answers again was not dead and accuses nobody. A request that was still in the engine's
queue, far from its turn, is a bystander (frontend/mesh/bystanders.py).
"""

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from frontend.fleet.partings import Pair
from frontend.fleet.worker import CLEARED_AFTER_TOKENS
from frontend.routing.route import RouteRequest
from protocol.errors import PoisonRequest, WorkerLost
from protocol.generation import Generate
from protocol.limits import MOVED_PRIORITY
from protocol.losses import MoveCause
from protocol.requests import Asked
from protocol.tokens import count_tokens

DEATHS: Final[frozenset[MoveCause]] = frozenset(("died", "silent", "unhealthy"))
"""Lists the losses that a request may have caused.

A worker that leaves on purpose, or gave us up, is no sign against what it ran.
"""


class Trail:
    """A Trail keeps what one choice has been through: its lost workers and what they generated.

    Attributes:
        output: tokens generated on workers that are lost, packed u32.
        moves: workers lost so far.
        alone: it is a suspect in its present leg.
        refused_by: ids of workers that would not have it.
        parted: pairs of workers between which it waited in vain for its prompt's cache.
        shuns: ids of workers that had a part in a hand-over of it that failed.
    """

    __slots__ = ("_deaths", "_mute", "alone", "moves", "output", "parted", "refused_by", "shuns")

    def __init__(self) -> None:
        self.output = b""
        self.moves = 0
        self.alone = False
        self.refused_by: set[str] = set()
        self.parted: set[Pair] = set()
        self.shuns: set[str] = set()
        self._deaths = 0
        self._mute: set[str] = set()
        """Holds the ids of workers that ceased to answer with it aboard; at most one a move."""

    def lose(
        self,
        cause: MoveCause,
        leg: bytes,
        *,
        worker_id: str,
        answers_again: Callable[[str], bool],
        moves_max: int,
        bystander: bool = False,
    ) -> None:
        """Notes that the worker of this leg is lost, after it generated `leg` (packed u32).

        A bystander's wait begins anew, and nothing else.

        Args:
            answers_again: whether a worker, by its id, that ceased to answer does so by now.
        Raises:
            PoisonRequest: it is what killed the worker, and one before it.
            WorkerLost: it was moved often enough.
        """
        if bystander and not leg:
            return
        self.output += leg
        leg_tokens = count_tokens(leg)
        cleared = leg_tokens >= CLEARED_AFTER_TOKENS
        if cause in DEATHS:
            self._mute = {missed for missed in self._mute if not answers_again(missed)}
            strikes = 0 if cleared else self._deaths + len(self._mute)
            if self.alone and strikes >= (1 if cause == "died" else 2):
                raise PoisonRequest(
                    "Workers died while they ran this request, so it is not tried again."
                )
            if cleared:
                self._deaths, self._mute = 0, set()
            if cause == "died":
                self._deaths += 1
            else:
                self._mute.add(worker_id)
            self.alone = not leg_tokens or strikes > 0
        if self.moves >= moves_max:
            times = "once" if self.moves == 1 else f"{self.moves} times"
            moved = (
                f"It had been moved {times} before."
                if self.moves
                else "Moving requests is switched off here."
            )
            raise WorkerLost(f"The worker that ran this request was lost. {moved}", cause=cause)
        self.moves += 1

    def go_on(self, request: Asked, request_id: str) -> Asked | None:
        """Returns the request that continues `request`, the one that the client asked for; None
        when nothing is left to generate.
        """
        if not isinstance(request, Generate):
            return replace(request, request_id=request_id)
        done = count_tokens(self.output)
        sampling = request.sampling
        if done >= sampling.max_new_tokens > 0:
            return None
        return replace(
            request,
            request_id=request_id,
            priority=MOVED_PRIORITY if done else request.priority,  # somebody is reading it
            token_ids=request.token_ids + self.output,
            sampling=replace(
                sampling,
                max_new_tokens=sampling.max_new_tokens - done,
                min_new_tokens=max(0, sampling.min_new_tokens - done),
            ),
            grammar=None
            if request.grammar is None
            else replace(request.grammar, replayed_tokens=done),
            reading=(
                None
                if request.reading is None
                else replace(
                    request.reading, replayed_tokens=done, first_request_id=request.request_id
                )
            ),
            # The first token brought the prompt's log probabilities along.
            logprobs=replace(request.logprobs, of_prompt=False)
            if request.logprobs is not None and done
            else request.logprobs,
            # An engine holds back what nobody reads as it comes, and with it the sign that a
            # suspect is none.
            stream=request.stream or self.alone,
        )

    def route(self, route: RouteRequest) -> RouteRequest:
        """Returns where to go on: the wishes of `route` for the prompt and what has been
        generated.
        """
        return route.followed_by(self.output) if self.output else route
