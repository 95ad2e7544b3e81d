"""One rank of an engine answers or does not, which is judged here from its output and its canaries.
Pure: it is told what happens and when.
"""

import math
from dataclasses import dataclass
from typing import Final

from workers.health.prefill_pace import PrefillPace
from workers.health.tolerance import Tolerance

BUSY_SILENCE_S: Final = 1.0
"""A rank with unfinished requests that puts out nothing for this many seconds is sent a canary. It
is longer than most steps, and with the default timeout of 3 s an engine that froze mid-stream is
found out within some 4 s.
"""


@dataclass(frozen=True, kw_only=True)
class HealthLimits:
    """HealthLimits say after how many seconds of silence an idle rank is asked for a sign of life,
    and how many it has to answer (the settings canary_wait_time and health_check_request_timeout).
    """

    idle_silence_s: float
    answer_s: float


@dataclass(frozen=True, kw_only=True)
class RankState:
    """A RankState is a picture of one rank at one moment. Counts are of canaries since the worker
    started.
    """

    silence_s: float | None
    """So many seconds have passed since the rank's last sign of life; None before the first."""
    complaint: str
    """The complaint says in words what is wrong with the rank; it is empty if nothing is."""
    unfinished: int
    """The rank has not ended this many requests."""
    ok: int
    timeout: int
    failed: int
    latency_s_last: float | None
    """The last canary that was answered took this many seconds; None before the first."""
    latency_s_sum: float
    """All canaries that were answered took this many seconds together."""


class RankWatch:
    """A RankWatch keeps when one rank was heard of and what it was asked, and gives the verdict.

    Traffic that puts out tokens proves life, so that a canary is due only in silence. A canary
    without an answer in time is an alarm; others follow it, one a timeout, and the first sign of
    life ends the alarm. As long as the prompts that the rank has to compute explain its silence
    there is none: moved elsewhere, they would silence one rank after the other.

    Args:
        step_tokens: prompt tokens that the rank computes in one step at most.
    Attributes:
        unfinished: requests that the rank has not ended.
        waiting_tokens: prompt tokens of those that have no output yet.
    """

    def __init__(self, limits: HealthLimits, step_tokens: int) -> None:
        self.unfinished = 0
        self.waiting_tokens = 0
        self._ok = self._timeout = self._failed = 0
        self._latency_s_sum = 0.0
        self._latency_s_last: float | None = None
        self._limits = limits
        self._tolerance = Tolerance(limits.answer_s)
        self._prefills = PrefillPace(step_tokens)
        self._waiting_since = 0.0
        self._heard_at = -math.inf  # the first canary is due at once
        self._sent_at: float | None = None
        """The canary without an answer was sent at this time, the last one if there were
        several.
        """
        self._asked_at: float | None = None
        """The first of the canaries without an answer was sent at this time."""
        self._alarmed = False
        self._failure = ""

    @property
    def waiting(self) -> bool:
        """Tells whether a canary is under way and may still be answered in time."""
        return self._asked_at is not None and not self._alarmed

    def silence_s(self, now: float) -> float:
        """Returns for how many seconds nothing has been heard; infinite before the first sign of
        life.
        """
        return now - self._heard_at

    def note_prompt(self, tokens: int, now: float) -> None:
        """Notes that the rank was given a prompt of so many tokens."""
        if not self.waiting_tokens:
            self._waiting_since = now
        self.waiting_tokens += tokens

    def judge(self, now: float) -> None:
        """Raises the alarm if a canary has waited for its answer for too long."""
        tolerated_s = max(
            self._tolerance.at(now), self._prefills.explains_s(self.waiting_tokens, now)
        )
        if self._asked_at is not None and now - self._asked_at >= tolerated_s:
            self._alarmed = True

    def due(self, now: float) -> bool:
        """Tells whether to send a canary now."""
        if self.waiting:
            return False
        if self._sent_at is not None and (self._alarmed or self._failure):
            return now - self._sent_at >= self._limits.answer_s
        wait_s = (
            min(BUSY_SILENCE_S, self._limits.answer_s)
            if self.unfinished
            else self._limits.idle_silence_s
        )
        return self.silence_s(now) >= wait_s

    def note_sent(self, now: float) -> None:
        """Notes that a canary was sent, which replaces the one before if that has no answer."""
        if self._asked_at is None:
            self._asked_at = now
        else:
            self._timeout += 1
        self._sent_at = now

    def note_output(self, now: float) -> None:
        """Notes that the rank put out tokens: it lives, whatever was concluded before."""
        if self._alarmed and self._asked_at is not None:
            self._tolerance.learn(now - self._asked_at, now)
        if self.waiting_tokens:
            self._prefills.learn(
                now - max(self._heard_at, self._waiting_since), self.waiting_tokens, now
            )
        self._heard_at = now
        self._failure = ""
        self._asked_at = None
        self._alarmed = False

    def note_answer(self, now: float) -> None:
        """Notes that a canary was answered, by its own output or by word that the rank is busy."""
        if self._sent_at is not None:
            self._latency_s_last = now - self._sent_at
            self._latency_s_sum += self._latency_s_last
        self._ok += 1
        self.note_output(now)

    def note_failure(self, now: float, message: str) -> None:
        """Notes that the engine refused the canary or failed on it: it answers, but does no
        work.
        """
        self._failed += 1
        self.note_output(now)
        self._failure = message

    def postpone(self, lateness_s: float) -> None:
        """Moves all times on by the seconds that our own loop stood still, since nothing can be
        concluded from silence meanwhile.
        """
        self._heard_at += lateness_s
        self._waiting_since += lateness_s
        if self._asked_at is not None and self._sent_at is not None:
            self._asked_at += lateness_s
            self._sent_at += lateness_s

    def begin_anew(self, now: float) -> None:
        """Counts the rank's silence from now on, whatever was asked or concluded before."""
        self._heard_at = self._waiting_since = now
        self._failure = ""
        self._asked_at = self._sent_at = None
        self._alarmed = False

    def complaint(self, now: float) -> str:
        """Returns what is wrong, in words that follow the rank's name; empty if nothing is."""
        if self._alarmed and self._asked_at is not None:
            return f"has not answered for {now - self._asked_at:.1f} s"
        return f"failed its health check: {self._failure}" if self._failure else ""

    def state(self, now: float) -> RankState:
        """Returns a picture of the rank at this moment."""
        silence_s = self.silence_s(now)
        return RankState(
            silence_s=None if math.isinf(silence_s) else silence_s,
            complaint=self.complaint(now),
            unfinished=self.unfinished,
            ok=self._ok,
            timeout=self._timeout,
            failed=self._failed,
            latency_s_last=self._latency_s_last,
            latency_s_sum=self._latency_s_sum,
        )
