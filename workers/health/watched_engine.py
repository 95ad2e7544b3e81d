"""A worker's engine is watched: ranks that give no sign of life are asked for one.

An `Engine` itself, between intake and the real one.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocol.diffusion import Diffused
from protocol.embedding import Embedded
from protocol.encoding import Encoded
from protocol.errors import Overloaded
from protocol.limits import HEARTBEAT_INTERVAL_S, REQUEST_ID_CHARS
from protocol.membership import RankLoad
from protocol.replies import Delta, Failed
from protocol.requests import Work, tokens_of
from workers.engine import (
    BROKEN,
    CANARY_PREFIX,
    Deliver,
    Engine,
    EngineFacts,
    FollowerFacts,
    OnDeath,
)
from workers.health.canary import CanariesOf, CanaryFields, MakeCanary, canary_maker
from workers.health.rank_watch import HealthLimits, RankState, RankWatch

log = logging.getLogger(__name__)

_MADE: Final = (Embedded, Encoded, Diffused)
"""Ends that only a rank which works can give."""

_COMPLAINTS_MAX: Final = 3
"""A reason names at most this many ranks; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class HealthSettings:
    """HealthSettings say whether and how ranks are watched and what a canary is (the worker's
    settings of health checks).
    """

    enabled: bool = True
    limits: HealthLimits = field(
        default_factory=lambda: HealthLimits(idle_silence_s=10.0, answer_s=3.0)
    )
    canary: CanaryFields = field(default_factory=CanaryFields)


class WatchedEngine:
    """A WatchedEngine passes everything on to an engine, and sends canaries to its ranks that are
    silent.

    Behind it nothing raises on account of one request, which would be the end of heartbeats or of
    what else waits in the same loop.

    Only one canary at a time is one whose answer may still come in time: a busy SGLang scheduler
    answers without saying which canary it means.

    Args:
        canaries: the smallest piece of work of this kind of worker.
        clock: monotonic seconds.
    Attributes:
        ranks: what is known of each, by dp_rank; none before the start, on a node that takes no
        requests, and if checks are off.
        unusable: why the engine must not be given work though it answers, in words; empty if it
        may.
    """

    def __init__(
        self,
        engine: Engine,
        settings: HealthSettings,
        *,
        canaries: CanariesOf,
        clock: Callable[[], float],
    ) -> None:
        self.ranks: list[RankWatch] = []
        self.unusable = ""
        self._rests = False
        self._engine = engine
        self._settings = settings
        self._canaries_of = canaries
        self._clock = clock
        self._elsewhere = RankWatch(settings.limits, step_tokens=1)
        """A request that was routed to none of several ranks counts to this watch: whichever rank
        it is on, canaries watch it.
        """
        self._watch_of: dict[str, RankWatch] = {}
        """Each unfinished request is mapped to its rank's watch. Bounded by the credit granted to
        frontends.
        """
        self._prompt_tokens: dict[str, int] = {}
        """Each request without any output yet is mapped to the tokens of its prompt."""
        self._canaries: dict[str, RankWatch] = {}
        """Each canary without an answer is mapped to its rank's watch; there is at most one a
        rank.
        """
        self._checked_at: float | None = None
        self._deliver: Deliver = _nobody
        self._on_death: OnDeath | None = None
        self._make_canary: MakeCanary | None = None

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts | FollowerFacts:
        """Starts the engine.

        Raises:
            StartError: it cannot start, or the canary does not fit its model.
        """
        self._deliver, self._on_death = deliver, on_death
        facts = await self._engine.start(self._take, on_death)
        if isinstance(facts, EngineFacts) and self._settings.enabled:
            self._make_canary = canary_maker(self._canaries_of, facts, self._settings.canary)
            capacity = facts.capacity
            self.ranks = [
                RankWatch(self._settings.limits, capacity.prefill_step_tokens)
                for _ in range(capacity.dp_size)
            ]
        return facts

    def submit(self, request: Work) -> None:
        """Passes a request on and counts it to its rank."""
        # a job that is asked for again goes on, and counts once
        if self.ranks and request.request_id not in self._watch_of:
            watch = self._rank(request.routed_dp_rank)
            watch.unfinished += 1
            self._watch_of[request.request_id] = watch
            tokens = self._prompt_tokens[request.request_id] = tokens_of(request)
            watch.note_prompt(tokens, self._clock())
        self._submit(request)

    def abort(self, request_id: str) -> None:
        """Passes an abort on; the request counts to its rank until it has ended."""
        try:
            self._engine.abort(request_id)
        except Exception:
            log.exception("request %s could not be aborted", request_id)

    def loads(self) -> list[RankLoad]:
        """Returns the load of each rank, by dp_rank; nothing where the engine cannot tell at the
        moment.
        """
        try:
            return self._engine.loads()
        except Exception:
            log.exception("the engine's load could not be read")
            return []

    async def stop(self) -> None:
        """Ends the engine; its ranks are not watched any more."""
        self.ranks = []
        await self._engine.stop()

    async def kill(self) -> None:
        """Ends the engine now; its ranks are not watched any more."""
        self.ranks = []
        await self._engine.kill()

    def give_up(self, reason: str) -> None:
        """Takes the engine as dead."""
        if self._on_death is not None:
            self._on_death(reason)

    def check(self) -> None:
        """Judges silences and sends what canary is due. To be called with every heartbeat."""
        now = self._clock()
        if self._checked_at is not None:
            # A late call means that this loop stood still: what the engine said meanwhile is still
            # unread.
            lateness_s = now - self._checked_at - HEARTBEAT_INTERVAL_S
            if lateness_s > HEARTBEAT_INTERVAL_S:
                for watch in self.ranks:
                    watch.postpone(lateness_s)
        self._checked_at = now
        if self._rests:
            return
        for watch in self.ranks:
            watch.judge(now)
        self._send_due(now)

    def rest(self, rests: bool) -> None:
        """Has nobody be asked for a sign of life, nor judged, from here on; or again."""
        if rests == self._rests:
            return
        self._rests = rests
        now = self._clock()
        if rests:
            unanswered, self._canaries = list(self._canaries), {}
            for request_id in unanswered:
                self.abort(request_id)
        for watch in self.ranks:
            watch.begin_anew(now)

    @property
    def reason(self) -> str:
        """Returns why the worker should get no work, in words; empty while every rank answers."""
        if self.unusable:
            return self.unusable
        now = self._clock()
        complaints = [
            f"rank {rank} {complaint}"
            for rank, watch in enumerate(self.ranks)
            if (complaint := watch.complaint(now))
        ]
        named = complaints[:_COMPLAINTS_MAX]
        if len(complaints) > len(named):
            named.append(f"and {len(complaints) - len(named)} more")
        return "; ".join(named)

    def states(self) -> list[RankState]:
        """Returns a picture of each rank, to be shared with other threads."""
        now = self._clock()
        return [watch.state(now) for watch in self.ranks]

    def _rank(self, dp_rank: int | None) -> RankWatch:
        if dp_rank is None:
            return self.ranks[0] if len(self.ranks) == 1 else self._elsewhere
        return self.ranks[dp_rank] if 0 <= dp_rank < len(self.ranks) else self._elsewhere

    def _send_due(self, now: float) -> None:
        if self._rests or any(watch.waiting for watch in self.ranks):
            return
        due = [rank for rank, watch in enumerate(self.ranks) if watch.due(now)]
        if due:
            self._send(max(due, key=lambda rank: self.ranks[rank].silence_s(now)), now)

    def _send(self, rank: int, now: float) -> None:
        assert self._make_canary is not None, "a canary before start"
        watch = self.ranks[rank]
        for unanswered in [
            request_id for request_id, asked in self._canaries.items() if asked is watch
        ]:
            del self._canaries[unanswered]
            self.abort(unanswered)
        request_id = (
            CANARY_PREFIX
            + secrets.token_hex(REQUEST_ID_CHARS)[: REQUEST_ID_CHARS - len(CANARY_PREFIX)]
        )
        self._canaries[request_id] = watch
        watch.note_sent(now)
        self._submit(self._make_canary(request_id, rank))

    def _submit(self, request: Work) -> None:
        try:
            self._engine.submit(request)
        except Exception:
            log.exception("request %s could not be submitted", request.request_id)
            asyncio.get_running_loop().call_soon(
                self._take, [Delta(request.request_id, 0, b"", BROKEN)]
            )

    def _take(self, deltas: Sequence[Delta]) -> None:
        now, watch_of, heard = self._clock(), self._watch_of, None
        for delta in deltas:
            watch = watch_of.get(delta.request_id)
            if watch is None:
                self._take_canary(delta, now)
                continue
            # Once a step is enough. A refusal, an expiry or an abort need not come from the rank.
            if watch is not heard and (
                delta.token_ids or isinstance(delta.end, _MADE) or _progresses(delta)
            ):
                heard = watch
                watch.note_output(now)
            if not delta.start or delta.end is not None:
                watch.waiting_tokens -= self._prompt_tokens.pop(delta.request_id, 0)
            if delta.end is not None:
                del watch_of[delta.request_id]
                watch.unfinished -= 1
        self._deliver(deltas)  # canaries too, which are nobody's there

    def _take_canary(self, delta: Delta, now: float) -> None:
        watch = self._canaries.get(delta.request_id)
        if watch is None or delta.end is None:
            return
        del self._canaries[delta.request_id]
        # An engine that is full has said so itself; any other failure is that of a request that
        # nothing was wrong with.
        if isinstance(delta.end, Failed) and delta.end.code != Overloaded.code:
            watch.note_failure(now, delta.end.message)
            log.error("a health check failed: %s", delta.end.message)
        else:
            watch.note_answer(now)
        asyncio.get_running_loop().call_soon(self._send_next)  # outside the engine's stack

    def _send_next(self) -> None:
        self._send_due(self._clock())


def _progresses(delta: Delta) -> bool:
    return delta.extras is not None and delta.extras.progress is not None


def _nobody(deltas: Sequence[Delta]) -> None:
    raise AssertionError(f"{len(deltas)} deltas before start")
