"""Remembers where each session's last request went, so that its next one can follow."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

RankKey = tuple[str, int]
"""Names a rank: (worker_id, dp_rank)."""

SESSIONS_MAX: Final = 100_000
"""Bounds the sessions remembered, about 20 MB; the session unused for longest is forgotten
first.
"""


class Sessions:
    """Sessions remembers the rank of each session as a soft affinity: who asks decides whether the
    rank will do.

    Args:
        ttl_s: a session unused for this long is forgotten; 0 forgets at once.
    Attributes:
        on_news: called with a session and its rank where whoever was told before knows another one,
        or will soon have forgotten it.
    """

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self.on_news: Callable[[str, RankKey], None] | None = None
        self._ranks: OrderedDict[str, tuple[RankKey, float, float]] = OrderedDict()
        """Maps a session to its rank, until when that is remembered, and when all knew of it."""

    def rank_of(self, session_id: str, now: float) -> RankKey | None:
        """Returns the rank of the session's last request; None where it is forgotten."""
        known = self._ranks.get(session_id)
        return known[0] if known is not None and known[1] > now else None

    def note(self, session_id: str, rank: RankKey, now: float) -> None:
        """Notes that the session's request went to `rank`."""
        if self._ttl_s <= 0:
            return
        told_at = now
        if self.on_news is not None:
            known = self._ranks.get(session_id)
            if known is not None and known[0] == rank and now - known[2] < self._ttl_s / 2:
                told_at = known[2]
            else:
                self.on_news(session_id, rank)
        self._keep(session_id, rank, now, told_at)

    def heard(self, session_id: str, rank: RankKey, now: float) -> None:
        """Notes where a session's request went, as another process says."""
        if self._ttl_s > 0:
            self._keep(session_id, rank, now, now)

    def _keep(self, session_id: str, rank: RankKey, now: float, told_at: float) -> None:
        self._ranks[session_id] = rank, now + self._ttl_s, told_at
        self._ranks.move_to_end(session_id)
        while len(self._ranks) > SESSIONS_MAX:
            self._ranks.popitem(last=False)
