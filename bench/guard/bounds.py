"""What is committed to, and what was measured beside it: pure but for the file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("bounds.json")

SLACK: Final = 0.10
"""How much more than the committed ratio is let pass: measured again it is another by up to three
per cent, beside other work or not; another CPU has other instructions for the same work.
"""

BARE: Final = "app"
"""The bare app's name among the processes."""

Costs = Mapping[str, Mapping[str, int]]
"""Instructions of one chat or token, by load and process, the bare app's among them."""


@dataclass(frozen=True)
class Verdict:
    """What one process costs under one load.

    Attributes:
        committed: its cost then, in costs of the bare app.
    """

    load: str
    process: str
    committed: float
    instructions: int
    bare_instructions: int

    @property
    def ratio(self) -> float:
        """Its cost now, in costs of the bare app."""
        return self.instructions / self.bare_instructions

    @property
    def change(self) -> float:
        """How much more that is than what is committed to, as a part of it."""
        return self.ratio / self.committed - 1

    @property
    def risen(self) -> bool:
        """Whether it is more than it may be."""
        return self.change > SLACK

    @property
    def fallen(self) -> bool:
        """Whether it is so much less that a rise could hide behind the old bound."""
        return self.change < -SLACK

    def told(self) -> str:
        """A line for people."""
        word = "ROSE" if self.risen else "fell" if self.fallen else "ok"
        return (
            f"{self.load:6}{self.process:9}{word:5}{self.ratio:7.3f} x the bare app's "
            f"{self.bare_instructions:,} instructions ({self.instructions:,}); "
            f"committed {self.committed:.3f}, {self.change:+.1%}"
        )

    def failure(self) -> str:
        """A sentence that says what rose above what."""
        return (
            f"a {self.load} costs the {self.process} {self.ratio:.3f} times the instructions that "
            f"it costs a bare ASGI app ({self.instructions:,} beside {self.bare_instructions:,}), "
            f"{100 * self.change:.0f} % more than the committed {self.committed:.3f}, where "
            f"{100 * SLACK:.0f} % are let pass"
        )


def verdicts(committed: Costs, found: Costs) -> list[Verdict]:
    """One for each process of kvmesh and load."""
    return [
        Verdict(load, process, cost / costs[BARE], found[load][process], found[load][BARE])
        for load, costs in committed.items()
        for process, cost in costs.items()
        if process != BARE
    ]


def read_bounds(file: Path = FILE) -> tuple[dict[str, Any], Costs]:
    """What `--set` wrote: the machine, and costs."""
    told = json.loads(file.read_text())
    return told["machine"], told["instructions"]


def write_bounds(machine: Mapping[str, Any], costs: Costs, file: Path = FILE) -> None:
    """Commits to these costs."""
    told = {"machine": machine, "instructions": costs}
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
