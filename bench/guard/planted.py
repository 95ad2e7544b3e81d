"""`python -m bench.guard.planted PROGRAM PLACE TURNS ARGUMENTS`: a frontend or a worker that takes
so many turns of an empty loop more with every chat, or with every token, to show that the guard
sees it. A turn is 140 to 190 instructions.
"""

import functools
import importlib
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

PLACES: Final = {
    ("frontend", "chat"): ("frontend.api.application", "Application", "__call__"),
    ("frontend", "token"): ("frontend.fleet.stream", "RequestStream", "extend"),
    ("workers", "chat"): ("workers.mesh.intake", "Intake", "take"),
}
"""Module, class and method that runs once for each, by program and place; what is renamed there
fails here when it starts.
"""


@dataclass(frozen=True)
class Plant:
    """Where in kvmesh how many turns are taken."""

    program: str
    place: str
    turns: int

    @classmethod
    def read(cls, text: str) -> "Plant":
        """That of `frontend:chat:1000`.

        Raises:
            ValueError: it says something else.
        """
        program, place, turns = text.split(":")
        if (program, place) not in PLACES:
            raise ValueError(text)
        return cls(program, place, int(turns))

    def program_of(self, program: str) -> tuple[str, ...]:
        """The words after `python -m` that start a program, slowed down if it is the one."""
        if program != self.program:
            return (program,)
        return ("bench.guard.planted", self.program, self.place, str(self.turns))


def slowed(method: Callable[..., Any], turns: int) -> Callable[..., Any]:
    """The method, after so many turns."""

    @functools.wraps(method)
    def slow(*args: Any, **kwargs: Any) -> Any:
        for _ in range(turns):
            pass
        return method(*args, **kwargs)

    return slow


def plant(program: str, place: str, turns: int) -> None:
    """Puts the slowness where it belongs."""
    module, owner, name = PLACES[program, place]
    owned: Any = getattr(importlib.import_module(module), owner)
    setattr(owned, name, slowed(getattr(owned, name), turns))


if __name__ == "__main__":
    planted_in, planted_at, taken = sys.argv[1:4]
    plant(planted_in, planted_at, int(taken))
    sys.argv = [planted_in, *sys.argv[4:]]
    runpy.run_module(planted_in, run_name="__main__", alter_sys=True)
