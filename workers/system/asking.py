"""What is asked of a worker on its system port is done, and frontends hear what it means for
them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from protocol.errors import Conflict
from protocol.operated import UNTOUCHED, Operated
from workers.engine import EngineFacts
from workers.mesh.intake import Intake
from workers.operating.operator import Act, Operator
from workers.system.adapters import Adapters, LoadAdapter, UnloadAdapter
from workers.system.controls import Control, Controls


class Rests(Protocol):
    """A Rests is an engine whose signs of life are watched.

    Attributes:
        unusable: why it must not be given work though it answers, in words; empty if it may.
    """

    unusable: str

    def rest(self, rests: bool) -> None:
        """Has nobody be asked for a sign of life from here on; or again."""

    def give_up(self, reason: str) -> None:
        """Takes the engine as dead."""


class Asking:
    """An Asking does what is asked of a worker: its adapters come and go, and its operator has his
    way with its engine.

    Args:
        controls: given what may be asked, once the engine is up.
        tell_adapters: told the names of the adapters whenever they are others.
        tell: called when frontends are to hear now how the worker is.
    """

    def __init__(
        self,
        controls: Controls,
        engine: Rests,
        intake: Intake,
        tell_adapters: Callable[[list[str]], None],
        tell: Callable[[], None],
    ) -> None:
        self.adapters = Adapters(None, tell_adapters)
        self._controls = controls
        self._engine = engine
        self._intake = intake
        self._tell_adapters = tell_adapters
        self._tell = tell
        self._operator: Operator | None = None

    @property
    def operated(self) -> Operated | None:
        """Returns what an operator did to the engine; None while nobody did anything."""
        operated = UNTOUCHED if self._operator is None else self._operator.operated
        return None if operated == UNTOUCHED else operated

    def open(self, facts: EngineFacts) -> None:
        """Lets be asked from here on what the engine, which is up, can do."""
        self.adapters = adapters = Adapters(facts.adapters, self._tell_adapters)
        asked = {
            "load_lora_adapter": Control(LoadAdapter, self._unless_withdrawn(adapters.load)),
            "unload_lora_adapter": Control(UnloadAdapter, self._unless_withdrawn(adapters.unload)),
        }
        if facts.routes is not None:
            self._operator = Operator(
                facts.routes,
                withdraw=self._withdraw,
                on_change=self._note_change,
                give_up=self._engine.give_up,
            )
            asked |= {name: Control(*control) for name, control in self._operator.controls()}
        self._controls.open(asyncio.get_running_loop(), asked)

    def offers(self, adapter: str) -> bool:
        """Tells whether requests may name an adapter."""
        return adapter in self.adapters

    def note_idle(self) -> None:
        """Notes that requests have ended."""
        if self._operator is not None:
            self._operator.note_idle()

    def leave(self) -> None:
        """Has what a pause holds go on elsewhere, since the worker leaves."""
        if self._operator is not None:
            self._operator.leave()

    def close(self) -> None:
        """Lets nothing be asked any more."""
        self._controls.close()
        if self._operator is not None:
            self._operator.close()

    def _unless_withdrawn(self, act: Callable[[Any], Awaitable[Any]]) -> Act:
        """Returns what changes adapters, but not while something else is done to the engine."""

        async def acted(asked: Any) -> Any:
            if self.operated is not None and self.operated.state:
                raise Conflict(f"No adapter is loaded or unloaded now: {self.operated.reason}.")
            return await act(asked)

        return acted

    def _withdraw(self, withdrawn: bool) -> None:
        self._intake.withdrawn = withdrawn
        self._engine.rest(withdrawn)

    def _note_change(self) -> None:
        assert self._operator is not None
        self._engine.unusable = self._operator.unusable
        self._tell()
