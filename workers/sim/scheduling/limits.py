"""What one rank's scheduler is bounded by, and what each of its steps comes to."""

from dataclasses import dataclass
from typing import Literal

from protocol.replies import Delta


@dataclass(frozen=True, kw_only=True)
class SchedulerLimits:
    """Bounds of one rank. `chunk_tokens` bounds the new tokens of a prefill step."""

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
    """What one step did: how long the GPU would have been at it, and what it told."""

    duration_ms: float
    deltas: list[Delta]
    new_tokens: int
    """Tokens generated, told or held back."""
    prefill: bool = False
