"""One rank's scheduler is bounded by limits, and each of its steps has a result."""

from dataclasses import dataclass
from typing import Literal

from protocol.replies import Delta


@dataclass(frozen=True, kw_only=True)
class SchedulerLimits:
    """SchedulerLimits are the bounds of one rank. `chunk_tokens` bounds the new tokens of a prefill
    step.
    """

    page_size_tokens: int
    kv_pages: int
    requests_running_max: int
    requests_waiting_max: int
    chunk_tokens: int
    policy: Literal["fcfs", "lpm"] = "fcfs"
    conservativeness: float = 1.0
    prefix_cache: bool = True


@dataclass(slots=True)
class Step:
    """A Step says what one step did: how long the GPU would have been at it, and what it told."""

    duration_ms: float
    deltas: list[Delta]
    new_tokens: int
    """The step generated this many tokens, told or held back."""
    prefill: bool = False
