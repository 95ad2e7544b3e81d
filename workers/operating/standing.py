"""How a worker stands after what its operator did, and what may be done to it next. Pure."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from protocol.operated import Operated
from workers.operating.routes import Route

MEMORY: Final = ("kv_cache", "weights", "cuda_graph")
"""These parts of an engine's memory may be released."""

HOLDING: Final = ("retract", "in_place")
"""A pause of these modes holds the requests that run."""


@dataclass(kw_only=True)
class Standing:
    """A Standing is what holds of a worker's engine on account of its operator.

    Attributes:
        under_way: what is being done now.
        paused: the mode of a pause; empty while there is none.
        released: parts of the memory that are not there.
        lacks_weights: the weights' memory is there again, and not what was in it.
        in_session: an update of several calls has begun.
        unusable: why the engine's answers would be wrong, in words; empty if they are right.
        given_up: the engine does not end what it is at, and the worker ends.
        flushes: times that the cache was emptied.
    """

    under_way: Route | None = None
    paused: str = ""
    released: frozenset[str] = frozenset()
    lacks_weights: bool = False
    in_session: bool = False
    unusable: str = ""
    given_up: bool = False
    flushes: int = 0

    def told(self, weight_version: str) -> Operated:
        """Returns what frontends are told."""
        state, reason, soon = self._why_withdrawn()
        return Operated(
            state=state,
            reason=reason,
            soon=soon,
            flushes=self.flushes,
            weight_version=weight_version,
        )

    @property
    def withdrawn(self) -> bool:
        """Tells whether the worker takes no requests on account of its operator."""
        return bool(self._why_withdrawn()[0])

    def conflict(self, route: Route, *, tags: frozenset[str], mode: str | None) -> str:
        """Returns why something cannot be done as the engine stands, in words; empty if it can.

        Args:
            tags: parts of the memory that are to be released or resumed.
            mode: of a pause that is to begin.
        """
        there = tags - self.released
        conflicts: dict[str, str | Literal[False] | frozenset[str]] = {
            "pause_generation": self.paused in HOLDING
            and mode not in HOLDING
            and "It is paused already and holds requests: continue_generation first.",
            "continue_generation": self.released
            and f"{_listed(self.released)} of the engine is released: resume it first.",
            "release_memory_occupation": tags & self.released
            and f"{_listed(tags & self.released)} is released already.",
            "resume_memory_occupation": (there and f"{_listed(there)} is not released.")
            or (not tags and "Nothing is released."),
            "begin_weight_update": self.in_session
            and "An update has begun already: end_weight_update first.",
            "end_weight_update": not self.in_session and "No update has begun.",
            "update_weights_from_disk": self.in_session
            and "An update of several calls has begun: end_weight_update first.",
        }
        if self.given_up:
            return f"The worker ends: {self.unusable}."
        if route.loads and "weights" in self.released:
            return "The memory of the weights is released: resume it first."
        return str(conflicts.get(route.name) or "")

    def _why_withdrawn(self) -> tuple[str, str, bool]:
        if self.under_way is not None and self.under_way.state:
            return self.under_way.state, f"{self.under_way.name} is under way", True
        if self.released:
            return "released", f"{_listed(self.released)} of its memory is released", False
        if self.in_session:
            return "updating", "an update of its weights has begun", True
        if self.lacks_weights:
            return "released", "its weights were released and have not been loaded since", False
        if self.paused:
            return "paused", f"it is paused ({self.paused})", True
        return "", "", False


def _listed(parts: Collection[str]) -> str:
    return ", ".join(part for part in MEMORY if part in parts)
