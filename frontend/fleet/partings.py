"""Keeps apart the workers between which a hand-over failed: one that computed a prompt, and one
that was to go on from its cache.

Both may be well, and each be reached by this frontend, while there is no way between them: a
firewall, a route, a network card. Nobody tells a frontend but the requests that wait in vain.
"""

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from math import inf
from typing import Final

from protocol.process.log_floods import Complaint

log = logging.getLogger(__name__)

APART_S: Final = 30.0
"""Is how long two workers are kept apart: whoever tries them again may wait as long in vain."""

VAIN_S: Final = 10.0
"""Bounds the hand-overs that fail at once, which may be tried again at little cost; those that took
longer had somebody wait for what did not come.
"""

VAIN_MAX: Final = 2
"""Bounds the waits in vain, one after the other, after which a request does not try two workers
again: one may be an accident, and where there is nobody else a second try is better than an error.
"""

REMEMBERED_S: Final = 60.0
"""Is how long a failure is remembered; longer than a second try takes."""

PARTINGS_MAX: Final = 1_024
"""Bounds the pairs that are remembered, some 440 bytes each; the oldest are tried again first."""

Pair = tuple[str, str]
"""Names a worker that computes prompts, and one that generates, by their ids."""

Apart = Mapping[str, AbstractSet[str]]
"""Maps workers that compute prompts to those that they are kept apart from, by their ids."""

NOBODY: Final[Apart] = {}


def apart_of(pairs: Iterable[Pair]) -> Apart:
    """Returns who is kept apart from whom, where these pairs are."""
    apart: dict[str, set[str]] = {}
    for prefill_id, decode_id in pairs:
        apart.setdefault(prefill_id, set()).add(decode_id)
    return apart


class _Parting:
    """A _Parting is what is known of two workers between which a hand-over failed."""

    __slots__ = ("complaint", "failed_at", "vain", "vain_at")

    def __init__(self) -> None:
        self.complaint = Complaint(lambda: self.failed_at)
        self.failed_at = 0.0
        self.vain = 0
        """Counts the waits in vain, one after the other, since the last cache that came over."""
        self.vain_at = -inf
        """Is when the last one that is counted ended."""


class Partings:
    """Partings are the pairs of workers between which a hand-over failed of late, the latest
    last.
    """

    def __init__(self) -> None:
        self._of: dict[Pair, _Parting] = {}

    def note(self, pair: Pair, waited_s: float, now: float) -> None:
        """Notes that a cache was not handed over, which a request waited for.

        Args:
            now: seconds that only grow, as everywhere here.
        """
        parting = self._of.pop(pair, None) or _Parting()
        self._of[pair] = parting
        if len(self._of) > PARTINGS_MAX:
            del self._of[next(iter(self._of))]
        parting.failed_at = now
        # all that waited through one accident tell of it at its end
        if waited_s >= VAIN_S and waited_s <= now - parting.vain_at:
            parting.vain += 1
            parting.vain_at = now
        if times := parting.complaint.due():
            log.warning(
                "no KV cache came over from worker %s to worker %s (%d times): other pairs are "
                "preferred for %.0f s; unless one of the two is being lost, look for what keeps "
                "them from reaching each other (docs/disaggregation.md: what to open in a "
                "firewall)",
                *pair,
                times,
                APART_S,
            )

    def came_over(self, pair: Pair) -> None:
        """Notes that a cache was handed over."""
        if self._of and (parting := self._of.get(pair)) is not None:
            parting.vain = 0

    def in_vain(self, pair: Pair) -> bool:
        """Tells whether a request that failed between two workers is not to try them again."""
        parting = self._of.get(pair)
        return parting is not None and parting.vain >= VAIN_MAX

    def apart(self, now: float) -> Apart:
        """Returns who is kept apart from whom."""
        if not self._of:
            return NOBODY
        old = [pair for pair, each in self._of.items() if now - each.failed_at > REMEMBERED_S]
        for pair in old:
            del self._of[pair]
        return apart_of(pair for pair, each in self._of.items() if now - each.failed_at < APART_S)

    def forget(self, worker_id: str) -> None:
        """Forgets a worker that is gone: what comes back under its name may be elsewhere."""
        for pair in [pair for pair in self._of if worker_id in pair]:
            del self._of[pair]
