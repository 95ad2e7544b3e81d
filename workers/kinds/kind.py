"""What a type of worker is, in one record."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from protocol.membership import Service, Stage
from protocol.process.start_error import StartError
from protocol.requests import Work
from workers.engine import Engine, EngineFacts, FirstWork
from workers.health.canary import CanariesOf, CanaryFields, MakeCanary
from workers.kinds.arguments import Arguments


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What a worker that takes requests says of itself in its Hello, takes, and sends its own
    engine.
    """

    service: Service
    stage: Stage = "whole"
    endpoint: str
    """The name under which the worker is listed unless it was given one: dyn://NAME.NAME.NAME."""
    takes: tuple[type[Work], ...]
    canaries: CanariesOf
    """The smallest piece of work, sent to a rank that gives no sign of life."""
    first_work: FirstWork
    """What an engine is warmed up with."""


@dataclass(frozen=True)
class EngineChoice:
    """One engine that a kind of worker may run on."""

    make: Callable[["WorkerKind", Arguments], Engine]
    """Raises StartError where the arguments are not for it."""
    help_text: Callable[[], str]
    """The engine's own arguments, for --help."""


@dataclass(frozen=True, kw_only=True)
class WorkerKind:
    """A type of worker: what chooses it, what it runs on, what it serves."""

    name: str
    chosen_by: Callable[[Arguments], bool]
    """Whether these arguments ask for a worker of this kind."""
    engines: Mapping[str, EngineChoice]
    """By the value of --engine."""
    serving: Serving | None
    """None: its requests are taken by another node, which also introduces the engine."""
    found: Callable[[EngineFacts], Serving] | None = None
    """What is served once the engine is up, where engines find out more than the arguments say;
    None: what `serving` says.
    """

    def engine(self, arguments: Arguments) -> Engine:
        """The engine that the arguments ask for, not started.

        Raises:
            StartError: an argument is wrong, or no worker of this kind runs on that engine.
        """
        return self._choice(arguments).make(self, arguments)

    def help_text(self, arguments: Arguments) -> str:
        """What --help says of the engine's own arguments."""
        return self._choice(arguments).help_text()

    def serving_of(self, facts: EngineFacts) -> Serving:
        """What a started engine serves."""
        if self.found is not None:
            return self.found(facts)
        assert self.serving is not None, f"a worker of kind {self.name} takes no requests"
        return self.serving

    def canaries(self, facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
        """How a started engine is asked for a sign of life."""
        return self.serving_of(facts).canaries(facts, fields)

    def first_work(self, facts: EngineFacts, tokens: int, dp_rank: int | None) -> Work:
        """One of the requests that a started engine answers first."""
        return self.serving_of(facts).first_work(facts, tokens, dp_rank)

    def _choice(self, arguments: Arguments) -> EngineChoice:
        named = arguments.settings.engine
        if named not in self.engines:
            raise StartError(
                f"--engine {named} runs no worker of the kind {self.name}, only "
                f"{' or '.join(self.engines)}"
            )
        return self.engines[named]
