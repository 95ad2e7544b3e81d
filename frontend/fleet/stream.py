"""Holds a request's tokens between the mesh, which delivers them, and the HTTP handler, which takes
them.
"""

from bisect import bisect_left
from collections.abc import Sequence
from sys import maxsize
from time import perf_counter

from frontend.fleet.allowance import Allowance
from frontend.fleet.rank import Rank
from frontend.fleet.wakeup import Notified
from frontend.routing.route import Placement
from protocol.diffusion import Diffused
from protocol.embedding import Embedded
from protocol.encoding import Encoded
from protocol.errors import EncoderLost, EngineFault, MeshError, error_from_code
from protocol.generation import Extras, Finished
from protocol.replies import Delta, Failed
from protocol.tokens import TOKEN_ID_BYTES, count_tokens


class RequestStream:
    """A RequestStream collects the output of one request, bounded by its allowance."""

    # Slots: every token looks at a stream, and hundreds of streams do not stay in a core's cache.
    __slots__ = (
        "_allowance",
        "_gap_bounds",
        "_packed",
        "_tokens_max",
        "_wakeup",
        "asked_at",
        "begun_at",
        "diffused",
        "embedded",
        "encoded",
        "ended_at",
        "error",
        "extras",
        "fetches_from",
        "finished",
        "first_at",
        "gaps",
        "held",
        "helpers",
        "last_at",
        "lost_on",
        "placement",
        "prefill_placement",
        "queue_s",
        "request_id",
        "routed_at",
        "routing_s",
        "sent_at",
        "tokens_received",
        "told_at_once",
    )

    def __init__(
        self,
        request_id: str,
        wakeup: Notified,
        placement: Placement[Rank],
        *,
        prefill_placement: Placement[Rank] | None = None,
        sent_at: float = 0.0,
        allowance: Allowance | None = None,
        told_at_once: bool = False,
        gap_bounds: Sequence[float] = (),
    ) -> None:
        self.request_id = request_id
        self._allowance = allowance
        self._tokens_max = maxsize if allowance is None else allowance.tokens_max
        self._gap_bounds = gap_bounds
        self._wakeup = wakeup
        self.placement = placement
        self.prefill_placement = prefill_placement or placement
        """Where its prompt is computed: elsewhere, if it has two legs."""
        self.lost_on = placement.rank.worker_id
        """Once it has failed: the worker that it failed on."""
        self.sent_at = sent_at
        self.told_at_once = told_at_once
        """Says that its tokens come as they are made, and not some, or all, together."""
        self.asked_at = self.first_at = self.last_at = 0.0
        """Say when a rank was asked for, and the first and the last tokens came, by perf_counter; 0
        before.
        """
        self.routed_at = self.ended_at = 0.0
        """Say when its rank was chosen, and when its worker ended it, likewise."""
        self.begun_at = 0.0
        """Says when the first token came, in seconds of the loop's clock; 0 while none has."""
        self.routing_s = self.queue_s = 0.0
        """Say how many seconds it took to choose the rank, and to wait for one with room."""
        self.tokens_received = 0
        """Counts the tokens received, which is also the position that the next delta must start
        at.
        """
        self.gaps: dict[int, int] = {}
        """Counts the gaps between tokens by the index of their bound."""
        self.extras: list[Extras] | None = None
        """Lists what came beside tokens and was not taken; None where nothing did."""
        self.held: list[Delta] | None = None
        """Holds deltas that wait for the scores of the prompt, which another leg computes; None
        where nothing waits. Bounded by the tokens that may come, and an end.
        """
        self.helpers: tuple[RequestStream, ...] = ()
        """Holds its legs on other workers, which compute its prompt or encode its pictures."""
        self.fetches_from = ""
        """Names the worker that encodes the request's pictures, where another one does."""
        self.finished: Finished | None = None
        self.embedded: Embedded | None = None
        self.encoded: Encoded | None = None
        self.diffused: Diffused | None = None
        self.error: MeshError | None = None
        self._packed = b""

    @property
    def worker_id(self) -> str:
        """Returns the id of the worker that the request runs on."""
        return self.placement.rank.worker_id

    @property
    def pair(self) -> tuple[str, str]:
        """Returns the ids of the workers that compute its prompt and generate its answer."""
        return self.prefill_placement.rank.worker_id, self.worker_id

    @property
    def ended(self) -> bool:
        """Tells whether no more tokens of the request will come."""
        return (
            self.finished is not None
            or self.error is not None
            or self.embedded is not None
            or self.encoded is not None
            or self.diffused is not None
        )

    def extend(self, delta: Delta, now: float) -> bool:
        """Adds tokens that go on behind others, with nothing beside them, as nearly all do; returns
        False, and does nothing, where a delta is to be judged (`push`).

        Args:
            now: when their step came, by perf_counter.
        """
        packed, received = delta.token_ids, self.tokens_received
        tokens = len(packed) // TOKEN_ID_BYTES
        if (
            delta.end is not None
            or delta.extras is not None
            or delta.start != received
            or not received
            or not tokens
            or received + tokens > self._tokens_max
            or self.held is not None
        ):
            return False
        self._packed = self._packed + packed if self._packed else packed
        self.tokens_received = received + tokens
        index = bisect_left(self._gap_bounds, (now - self.last_at) / tokens)
        self.gaps[index] = self.gaps.get(index, 0) + tokens
        self.last_at = now
        self._wakeup.notify()
        return True

    def push(self, delta: Delta) -> None:
        """Adds what one engine step gave the request.

        A delta that does not continue the output fails the request, since a token was lost; so does
        more than it asked for.
        """
        packed, end = delta.token_ids, delta.end
        if delta.start != self.tokens_received:
            self.fail(EngineFault("The worker skipped or repeated tokens."))
            return
        tokens_received = self.tokens_received + count_tokens(packed)
        allowance = self._allowance
        if (
            allowance is not None
            and (
                end is not None
                or delta.extras is not None
                or tokens_received > allowance.tokens_max
            )
            and allowance.exceeded(delta, tokens_received)
        ):
            self.fail(EngineFault("The worker sent something else or more than it was asked for."))
            return
        if packed:
            self._packed = self._packed + packed if self._packed else packed
            self._note_gap(tokens_received - self.tokens_received)
            self.tokens_received = tokens_received
        if delta.extras is not None:
            self._keep(delta.extras)
        if end is not None:
            self._take_end(end)
        self._wakeup.notify()

    def _take_end(self, end: Finished | Failed | Embedded | Encoded | Diffused) -> None:
        self.ended_at = perf_counter()
        if isinstance(end, Failed):
            self.error = error_from_code(end.code, end.message, end.param)
            if isinstance(self.error, EncoderLost):
                self.lost_on = self.fetches_from or self.lost_on
        elif isinstance(end, Finished):
            self.finished = end
        elif isinstance(end, Embedded):
            self.embedded = end
        elif isinstance(end, Encoded):
            self.encoded = end
        else:
            self.diffused = end

    def _note_gap(self, tokens: int) -> None:
        """Counts how long so many tokens were waited for; tokens of one step share its time."""
        now = perf_counter()
        if self.last_at:
            index = bisect_left(self._gap_bounds, (now - self.last_at) / tokens)
            self.gaps[index] = self.gaps.get(index, 0) + tokens
        else:
            self.first_at = now
        self.last_at = now

    def gap_index(self, gap_s: float) -> int:
        """Returns under which number a gap is counted."""
        return bisect_left(self._gap_bounds, gap_s)

    def hold(self, delta: Delta) -> bool:
        """Tells whether a delta was kept back: failures are not, nor is more than was asked for,
        which fails the request.
        """
        if self.held is None or isinstance(delta.end, Failed):
            return False
        self.held.append(delta)
        if self._allowance is None or len(self.held) <= self._allowance.tokens_max + 1:
            return True
        self.fail(EngineFault("The worker sent something else or more than it was asked for."))
        return False

    def add(self, extras: Extras) -> None:
        """Adds what came beside the tokens from another leg."""
        self._keep(extras)
        self._wakeup.notify()

    def fail(self, error: MeshError, *, on: str | None = None) -> None:
        """Ends the request from our side with this error, as when its worker is lost; not if it has
        ended.

        Args:
            on: the worker that it failed on, if that is not the one that generates.
        """
        if not self.ended:
            self.error = error
            self.lost_on = on or self.lost_on
            self._wakeup.notify()

    def take(self) -> bytes:
        """Returns the tokens that arrived since the last call, as packed u32."""
        packed, self._packed = self._packed, b""
        return packed

    def take_extras(self) -> Sequence[Extras]:
        """Returns what came beside the tokens since the last call, by delta."""
        extras, self.extras = self.extras, None
        return extras or ()

    def _keep(self, extras: Extras) -> None:
        if self.extras is None:
            self.extras = [extras]
        else:
            self.extras.append(extras)
