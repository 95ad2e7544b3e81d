"""The committed ratios, and what rounds say of them: pure but for the file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

FILE: Final = Path(__file__).with_name("bounds.json")

SLACK: Final = 0.15
"""How much more than the committed ratio is let pass: on one machine it differs by a few per cent
from run to run, on two machines by more.
"""

OTHERS_CORES_MAX: Final = 0.2
"""What others of the host may take while all is as on a quiet one: daemons and kernel threads."""

BUSY_SLACK: Final = 1.0
"""How much more is let pass where others take more than that. They slow kvmesh, which is large, and
the bare app, which is small, by unlike parts, and change how many messages travel together: beside
twenty busy processes on two cores a chat's ratio went from 11 up to 20 with the same code, and the
worker's from 4 down to 1.
"""

SPREAD_MAX: Final = SLACK
"""How far apart the middle half of the rounds may lie, as a part of their median: where that is
more than the slack, a few more rounds decide.
"""


def spread(ratios: Sequence[float]) -> float:
    """How far apart the middle half of some ratios lies, as a part of their median."""
    ordered, outside = sorted(ratios), len(ratios) // 4
    return (ordered[-1 - outside] - ordered[outside]) / median(ordered)


@dataclass(frozen=True)
class Verdict:
    """What the rounds so far say of one process under one load."""

    load: str
    process: str
    committed: float
    ratios: Sequence[float]
    cost_us: float
    bare_us: float
    others_cores: float

    @property
    def disturbed(self) -> bool:
        """Whether the host did so much else that a small rise cannot be told."""
        return self.others_cores > OTHERS_CORES_MAX

    @property
    def ratio(self) -> float:
        """The median of all rounds."""
        return median(self.ratios)

    @property
    def bound(self) -> float:
        """What the ratio may be."""
        return self.committed * (1 + (BUSY_SLACK if self.disturbed else SLACK))

    @property
    def risen(self) -> bool:
        """Whether it is more than it may be."""
        return self.ratio > self.bound

    @property
    def noisy(self) -> bool:
        """Whether rounds differ by more than what is looked for."""
        return spread(self.ratios) > SPREAD_MAX

    def told(self) -> str:
        """A line for people."""
        word = "ROSE" if self.risen else "noisy" if self.noisy else "ok"
        if self.disturbed:
            word += f" (others: {self.others_cores:.1f} cores)"
        return (
            f"{self.load:6}{self.process:9} {word} "
            f"{self.ratio:7.3f} x the bare app's {self.bare_us:.1f} µs ({self.cost_us:.1f} µs); "
            f"committed {self.committed:.3f}, bound {self.bound:.3f}; "
            f"{len(self.ratios)} rounds, {min(self.ratios):.3f} to {max(self.ratios):.3f}"
        )

    def failure(self) -> str:
        """A sentence that says what rose above what."""
        return (
            f"a {self.load} costs the {self.process} {self.ratio:.3f} times what it costs the bare "
            f"ASGI app ({self.cost_us:.1f} µs of CPU beside {self.bare_us:.1f}), "
            f"{100 * (self.ratio / self.committed - 1):.0f} % more than the committed "
            f"{self.committed:.3f} and above the bound of {self.bound:.3f}"
        )


def read_bounds(file: Path = FILE) -> dict[str, Any]:
    """What `--set` wrote: the machine, and ratios by load and process."""
    return json.loads(file.read_text())


def write_bounds(
    machine: Mapping[str, Any], ratios: Mapping[str, Mapping[str, float]], file: Path = FILE
) -> None:
    """Commits to these ratios."""
    rounded = {
        load: {process: round(ratio, 3) for process, ratio in by_process.items()}
        for load, by_process in ratios.items()
    }
    told = {"machine": dict(machine), "ratios": rounded}
    file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
