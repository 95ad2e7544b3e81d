"""Requests go in and tokens come out between the links to the frontends and the engine.

Knows of no socket.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol, get_args

from protocol.diffusion import Diffuse
from protocol.limits import CREDIT_REQUESTS_MAX
from protocol.replies import Delta, Failed
from protocol.requests import Work
from workers.engine import Runs
from workers.observe.leg_spans import LegSpans
from workers.observe.request_counts import RequestCounts

log = logging.getLogger(__name__)

ABORTED_MAX: Final = CREDIT_REQUESTS_MAX
"""At most this many requests may be aborted that the engine has not ended yet, which takes it a
step.

More than a frontend may have at all means that they come and go faster than the engine can tell.
"""


class Requester(Protocol):
    """A Requester is a frontend, as its requests see it."""

    requests: int
    """The frontend has this many unfinished requests, but for those that it aborted."""

    def send_deltas(self, deltas: Sequence[Delta]) -> None:
        """Sends the frontend what one step gave its requests."""


class Intake:
    """An Intake hands requests to the engine and what they put out to whoever asked.

    Args:
        unix_ms: wall clock, against which deadlines are meant.
        offers: whether a LoRA adapter may be named. The engine may still have one that is not to be
        used any more.
        counts: told what comes and ends.
        on_idle: called whenever there is no request left that somebody waits for.
        spans: records what the requests took; None where nobody wants to know.
    Attributes:
        credit_requests: unfinished requests that each frontend may have here.
        takes: types of work that the worker is for.
        closed: nothing more is taken.
        withdrawn: nothing is taken for a while; whoever crossed with that word is to come again.
    """

    def __init__(
        self,
        engine: Runs,
        *,
        unix_ms: Callable[[], float],
        on_idle: Callable[[], None],
        offers: Callable[[str], bool],
        counts: RequestCounts,
        spans: LegSpans | None = None,
    ) -> None:
        self.credit_requests = 0
        self.takes: tuple[type[Work], ...] = get_args(Work)
        self.closed = self.withdrawn = False
        self._engine = engine
        self._unix_ms = unix_ms
        self._on_idle = on_idle
        self._offers = offers
        self._counts = counts
        self._spans = spans
        self._owners: dict[str, Requester] = {}
        """Each request is mapped to the frontend that it came from.

        Bounded by the credit granted to each, and by ABORTED_MAX.
        """
        self._jobs: set[str] = set()
        """Those of them go on when their frontend is gone."""
        self._aborted: set[str] = set()
        """Nobody waits any more for these requests, whose end the engine owes."""

    def __len__(self) -> int:
        """Returns how many requests somebody waits for.

        An engine that is frozen never ends those that were aborted.
        """
        return len(self._owners) - len(self._aborted)

    def others_share(self, requester: Requester) -> float:
        """Returns which share of the requests that somebody waits for belongs to other frontends, 0
        to 1.
        """
        return 1.0 - requester.requests / len(self) if len(self) else 0.0

    def take(self, requester: Requester, request: Work) -> None:
        """Runs a request, or answers why not. What has expired never reaches the engine."""
        refusal = self._refusal(requester, request)
        if refusal is not None:
            self._counts.note_refused(refusal)
            requester.send_deltas([Delta(request.request_id, 0, b"", refusal)])
            return
        self._owners[request.request_id] = requester
        requester.requests += 1
        if isinstance(request, Diffuse) and request.job_id:
            self._jobs.add(request.request_id)
        self._counts.note_taken(request)
        self._engine.submit(request if self._spans is None else self._spans.begin(request))

    def abort(self, requester: Requester, request_id: str) -> None:
        """Stops a request of this frontend; its end still arrives as a delta.

        It uses no credit from here on, as the frontend counts.
        """
        if self._owners.get(request_id) is requester and request_id not in self._aborted:
            self._aborted.add(request_id)
            self._counts.cancelled += 1
            requester.requests -= 1
            self._engine.abort(request_id)
            self._note_idle()

    def abort_all_of(self, requester: Requester) -> None:
        """Aborts all requests of a frontend that is gone or knows nothing of them any more, so that
        nobody waits for them; jobs go on without it.
        """
        for request_id in [
            request_id for request_id, owner in self._owners.items() if owner is requester
        ]:
            del self._owners[request_id]
            cancels = request_id not in self._jobs and request_id not in self._aborted
            self._counts.note_left(request_id, cancels=cancels)
            self._aborted.discard(request_id)
            if request_id in self._jobs:
                self._jobs.discard(request_id)
            else:
                self._engine.abort(request_id)
        requester.requests = 0
        self._note_idle()

    def deliver(self, deltas: Sequence[Delta]) -> None:
        """Sends what one step of the engine gave, in one message a frontend."""
        if self._spans is not None:
            self._spans.note(deltas)
        batches: dict[Requester, list[Delta]] = {}
        owners = self._owners
        for delta in deltas:
            requester = owners.get(delta.request_id)
            if requester is None:
                continue  # its frontend is gone
            batch = batches.get(requester)
            if batch is None:
                batches[requester] = [delta]
            else:
                batch.append(delta)
            end = delta.end
            if end is None and delta.start:
                continue  # nearly all: tokens in the midst of an answer
            self._counts.note_output(delta)
            if end is not None:
                del owners[delta.request_id]
                self._jobs.discard(delta.request_id)
                if delta.request_id in self._aborted:
                    self._aborted.discard(delta.request_id)
                else:
                    requester.requests -= 1
        self._counts.note_step()
        for requester, batch in batches.items():
            try:
                requester.send_deltas(batch)
            except Exception:
                # the others get theirs
                log.exception("a step's output could not be sent to one frontend")
        self._note_idle()

    def _note_idle(self) -> None:
        if not len(self):
            self._on_idle()

    def _refusal(self, requester: Requester, request: Work) -> Failed | None:
        if self.closed or self.withdrawn:
            return (
                Failed("no_worker", "The worker is shutting down.")
                if self.closed
                else Failed("worker_lost", "The worker takes no requests at the moment.")
            )
        if self._unix_ms() > request.deadline_unix_ms:
            return Failed(
                "deadline_exceeded", "The request's deadline passed before it could start."
            )
        lacking = self._lacking(request)
        if lacking is not None:
            return lacking
        if request.request_id in self._owners:
            return Failed("invalid_value", "This request id is already in use.")
        if requester.requests >= self.credit_requests or len(self._aborted) >= ABORTED_MAX:
            return Failed("overloaded", "The worker granted less than it was asked for.")
        return None

    def _lacking(self, request: Work) -> Failed | None:
        if not isinstance(request, self.takes):
            return Failed("unsupported_parameter", "This worker is for other work.", "model")
        if request.lora_name is not None and not self._offers(request.lora_name):
            return Failed("no_worker", "The LoRA adapter is not loaded here any more.")
        return None
