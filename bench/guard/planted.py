"""`python -m bench.guard.planted PROGRAM PLACE MICROSECONDS ARGUMENTS`: a frontend or a worker that
burns so much CPU more with every chat, or with every token, to show that the guard sees it.
"""

import functools
import importlib
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

PLACES: Final = {
    ("frontend", "chat"): ("frontend.api.application", "Application", "__call__"),
    ("frontend", "token"): ("frontend.fleet.stream", "RequestStream", "push"),
    ("workers", "chat"): ("workers.mesh.intake", "Intake", "take"),
}
"""Module, class and method that runs once for each, by program and place; what is renamed there
fails here when it starts.
"""


@dataclass(frozen=True)
class Plant:
    """Where in kvmesh how much is burnt."""

    program: str
    place: str
    burn_us: float

    @classmethod
    def read(cls, text: str) -> "Plant":
        """That of `frontend:chat:100`.

        Raises:
            ValueError: it says something else.
        """
        program, place, burn_us = text.split(":")
        if (program, place) not in PLACES:
            raise ValueError(text)
        return cls(program, place, float(burn_us))

    def program_of(self, program: str) -> tuple[str, ...]:
        """The words after `python -m` that start a program, slowed down if it is the one."""
        if program != self.program:
            return (program,)
        return ("bench.guard.planted", self.program, self.place, f"{self.burn_us:g}")


def slowed(method: Callable[..., Any], burn_us: float) -> Callable[..., Any]:
    """The method, after `burn_us` of its thread's CPU time."""

    @functools.wraps(method)
    def slow(*args: Any, **kwargs: Any) -> Any:
        end_ns = time.thread_time_ns() + burn_us * 1_000
        while time.thread_time_ns() < end_ns:
            pass
        return method(*args, **kwargs)

    return slow


def plant(program: str, place: str, burn_us: float) -> None:
    """Puts the slowness where it belongs."""
    module, owner, name = PLACES[program, place]
    owned: Any = getattr(importlib.import_module(module), owner)
    setattr(owned, name, slowed(getattr(owned, name), burn_us))


if __name__ == "__main__":
    planted_in, planted_at, burnt_us = sys.argv[1:4]
    plant(planted_in, planted_at, float(burnt_us))
    sys.argv = [planted_in, *sys.argv[4:]]
    runpy.run_module(planted_in, run_name="__main__", alter_sys=True)
