"""A type of worker is described in one record."""

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
    """A Serving is what a worker that takes requests says of itself in its Hello, which work it
    takes, and what it sends its own engine.
    """

    service: Service
    stage: Stage = "whole"
    endpoint: str
    """The worker is listed under this name unless it was given one: dyn://NAME.NAME.NAME."""
    takes: tuple[type[Work], ...]
    canaries: CanariesOf
    """The canaries are the smallest piece of work, sent to a rank that gives no sign of life."""
    fetches_encodings: bool = False
    """Says that pictures come as what other workers made of them, where frontends name any."""
    computes_prompts: bool = True
    """Says whether the engine computes prompts, or takes over what another one computed."""
    first_work: FirstWork
    """The engine is warmed up with requests that this makes."""


@dataclass(frozen=True)
class EngineChoice:
    """An EngineChoice is one engine that a kind of worker may run on."""

    make: Callable[["WorkerKind", Arguments], Engine]
    """Makes the engine, not started; raises StartError where the arguments are not for it."""
    help_text: Callable[[], str]
    """Returns the text of the engine's own arguments, for --help."""
    forks: Callable[[Arguments], bool] = lambda _: False
    """Tells whether making the engine forks this process, which must have one thread then."""


@dataclass(frozen=True, kw_only=True)
class WorkerKind:
    """A WorkerKind says of a type of worker what chooses it, what it runs on, and what it
    serves.
    """

    name: str
    chosen_by: Callable[[Arguments], bool]
    """Tells whether these arguments ask for a worker of this kind."""
    engines: Mapping[str, EngineChoice]
    """The engines that this kind may run on stand here by the value of --engine."""
    serving: Serving | None
    """A worker of this kind serves this; None if another node takes its requests and introduces the
    engine.
    """
    found: Callable[[EngineFacts], Serving] | None = None
    """Returns what is served once the engine is up, where engines find out more than the arguments
    say; None if `serving` says it all.
    """

    def engine(self, arguments: Arguments) -> Engine:
        """Returns the engine that the arguments ask for, not started.

        Raises:
            StartError: an argument is wrong, or no worker of this kind runs on that engine.
        """
        return self._choice(arguments).make(self, arguments)

    def forks(self, arguments: Arguments) -> bool:
        """Tells whether the engine must be made before this process has a second thread."""
        return self._choice(arguments).forks(arguments)

    def help_text(self, arguments: Arguments) -> str:
        """Returns what --help says of the engine's own arguments."""
        return self._choice(arguments).help_text()

    def serving_of(self, facts: EngineFacts) -> Serving:
        """Returns what a started engine serves."""
        if self.found is not None:
            return self.found(facts)
        assert self.serving is not None, f"a worker of kind {self.name} takes no requests"
        return self.serving

    def canaries(self, facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
        """Returns how a started engine is asked for a sign of life."""
        return self.serving_of(facts).canaries(facts, fields)

    def first_work(self, facts: EngineFacts, tokens: int, dp_rank: int | None) -> Work:
        """Makes one of the requests that a started engine answers first."""
        return self.serving_of(facts).first_work(facts, tokens, dp_rank)

    def _choice(self, arguments: Arguments) -> EngineChoice:
        named = arguments.settings.engine
        if named not in self.engines:
            raise StartError(
                f"--engine {named} runs no worker of the kind {self.name}, only "
                f"{' or '.join(self.engines)}"
            )
        return self.engines[named]
