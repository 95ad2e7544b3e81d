"""A worker's arguments, as the kinds of worker read them, are held in one record."""

from dataclasses import dataclass, field, replace
from typing import Any

from protocol.process.flags import dropped, said_after
from protocol.transport.curve import MeshKey
from workers.config_section import Section, says
from workers.settings import WorkerSettings


@dataclass(frozen=True)
class Arguments:
    """Arguments are a worker's own settings, the arguments that belong to its engine, and the
    mesh's key.

    Attributes:
        key: by which the nodes of one engine know each other; None where there is none.
        section: what a file says of the engine besides; `engine_argv` wins over it.
    """

    settings: WorkerSettings
    engine_argv: tuple[str, ...] = ()
    key: MeshKey | None = None
    section: Section = field(default_factory=dict[str, Any])

    def told(self, *flags: str) -> str:
        """Returns what the engine's arguments, or else the section, say after any of these flags,
        the last one counting; empty where they say nothing.
        """
        said = said_after(self.engine_argv, *flags)
        return (says(self.section, *flags) or "") if said is None else said

    def adding(self, *items: str) -> "Arguments":
        """Returns the same arguments with more items for the engine."""
        return replace(self, engine_argv=(*self.engine_argv, *items))

    def without(self, *flags: str) -> "Arguments":
        """Returns the same arguments, of which neither the engine's nor the section say anything
        after these flags.
        """
        return replace(
            self,
            engine_argv=tuple(dropped(self.engine_argv, *flags)),
            section={
                key: value for key, value in self.section.items() if not says({key: value}, *flags)
            },
        )
