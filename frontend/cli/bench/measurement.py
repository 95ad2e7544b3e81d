"""What was measured of a server, and how."""

from dataclasses import dataclass, field
from datetime import datetime

from frontend.cli.bench.summary import Summary


@dataclass
class Report:
    """A Report is what was measured of one server, load by load, and how.

    Attributes:
        notes: what has to be known of all loads.
    """

    started: datetime
    url: str
    endpoint: str
    model: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0
    shared_prefix_tokens: int = 0
    seed: int = 0
    notes: list[str] = field(default_factory=list[str])
    loads: list[Summary] = field(default_factory=list[Summary])

    @property
    def asked(self) -> str:
        """Returns in a line what was asked for."""
        alike = (
            f"{self.shared_prefix_tokens} of them shared by all"
            if self.shared_prefix_tokens
            else "no two alike"
        )
        return f"prompts of {self.prompt_tokens} tokens, {alike}; answers of {self.output_tokens}"

    @property
    def way(self) -> str:
        """Returns in a line how it was measured."""
        return "closed loop; each user's first request is a warm-up and not measured"
