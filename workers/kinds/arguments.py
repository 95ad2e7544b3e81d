"""A worker's arguments, as the kinds of worker read them, are held in one record."""

import argparse
from dataclasses import dataclass, replace

from protocol.transport.curve import MeshKey
from workers.settings import WorkerSettings


@dataclass(frozen=True)
class Arguments:
    """Arguments are a worker's own settings, the arguments that belong to its engine, and the
    mesh's key.

    Attributes:
        key: by which the nodes of one engine know each other; None where there is none.
    """

    settings: WorkerSettings
    engine_argv: tuple[str, ...] = ()
    key: MeshKey | None = None

    def told(self, *flags: str) -> str:
        """Returns what the engine's arguments say after any of these flags, the last one counting;
        empty where they say nothing.
        """
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument(*flags, nargs="?", const="", default="", dest="told")
        return parser.parse_known_args(list(self.engine_argv))[0].told

    def adding(self, *items: str) -> "Arguments":
        """Returns the same arguments with more items for the engine."""
        return replace(self, engine_argv=(*self.engine_argv, *items))
