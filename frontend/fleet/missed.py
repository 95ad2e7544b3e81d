"""Remembers workers of which nothing is known: lost though they may live.

Synchronous; the mesh tells it what happened.

A worker that says nothing for a second and a half may be dead, or starved of CPU, swapped out,
moved to another host, or behind a network that stalls. It gets no work, and what it ran moves. But
where nobody else is left, it is not yet as good as dead.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from frontend.fleet.worker import Phase, Worker
from protocol.losses import LossCause
from protocol.membership import Stage

MISSED_S_MAX: Final = 10.0
"""Bounds how long a lost worker is missed: what only stood still is back within this, as a rule,
since live migration, swapping and starvation take seconds. A client that would have to wait longer
is better served by an error that it can act upon.
"""

MISSED_MAX: Final = 4_096
"""Bounds the missed workers remembered: as many as may connect."""

_MAY_LIVE: Final[frozenset[LossCause]] = frozenset(("silent", "out_of_step"))
"""Lists the losses after which a worker introduces itself anew if it lives.

The others are known to be gone, or have been heard of again already.
"""


@dataclass(frozen=True, slots=True)
class Missed:
    """A Missed holds what matters of a worker while it is away."""

    identity: bytes
    worker_id: str
    digest: str
    """Is the digest of the card that the missed worker served."""
    stage: Stage
    adapters: frozenset[str]
    session: int
    since: float


class MissedWorkers:
    """MissedWorkers remembers, by connection, the workers that were lost a moment ago."""

    def __init__(self) -> None:
        self._missed: dict[bytes, Missed] = {}

    def __iter__(self) -> Iterator[Missed]:
        return iter(list(self._missed.values()))

    def note(self, worker: Worker, cause: LossCause, now: float) -> None:
        """Notes that a worker was lost, unless it would not come back: one that drains does not."""
        if (
            cause in _MAY_LIVE
            and worker.phase is not Phase.DRAINING
            and len(self._missed) < MISSED_MAX
        ):
            self._missed[worker.identity] = Missed(
                worker.identity,
                worker.worker_id,
                worker.digest,
                worker.hello.stage,
                worker.adapters,
                worker.numbering.session,
                now,
            )

    def found(self, worker_id: str) -> None:
        """Forgets a worker that introduced itself, or whose name another one goes by now."""
        self._missed = {
            identity: missed
            for identity, missed in self._missed.items()
            if missed.worker_id != worker_id
        }

    def gone(self, identity: bytes) -> None:
        """Forgets a worker that is known not to come back."""
        self._missed.pop(identity, None)

    def expect(self, identity: bytes, *, over: bytes) -> None:
        """Expects a missed worker over another connection, which may take it as long as any: that
        the first is gone says nothing of it.
        """
        missed = self._missed.pop(identity, None)
        if missed is not None:
            self._missed[over] = replace(missed, identity=over, session=0)

    def expire(self, now: float) -> None:
        """Gives up whom nobody has heard of for too long.

        To be called only if what they may have said has been read.
        """
        self._missed = {
            identity: missed
            for identity, missed in self._missed.items()
            if now - missed.since <= MISSED_S_MAX
        }
