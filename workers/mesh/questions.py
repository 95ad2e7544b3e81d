"""What frontends ask a worker beside their requests is answered without the engine's credit."""

from collections.abc import Callable

from protocol.diffusion import AskJobs, FetchOutput
from protocol.requests import FetchFile, Tokenize, ToWorker
from workers.engine import EngineFacts
from workers.mesh.card_files import CardFiles
from workers.mesh.frontend_link import FrontendLink
from workers.mesh.outputs_part import OutputsPart
from workers.mesh.tokenizing import Tokenizing


class Questions:
    """Questions are answered out of a model's files, a tokenizer, and what was made.

    Args:
        unix_ms: wall clock, against which deadlines are meant.
        on_change: called whenever the outputs' `owed` may be less.
    Attributes:
        outputs: what the engine has made.
    """

    def __init__(self, *, unix_ms: Callable[[], float], on_change: Callable[[], None]) -> None:
        self.outputs = OutputsPart()
        self._unix_ms = unix_ms
        self._on_change = on_change
        self._card_files = CardFiles({})
        self._tokenizing = Tokenizing(unix_ms=unix_ms)

    def open(self, facts: EngineFacts, tag: str) -> None:
        """Begins to answer, once the engine is up.

        Args:
            tag: what the ids of outputs begin with.
        """
        self._card_files = CardFiles(facts.card_files)
        self._tokenizing = Tokenizing(facts.prompts, facts.images, unix_ms=self._unix_ms)
        if facts.outputs is not None:
            self.outputs.open(facts.outputs, tag, self._on_change)

    def take(self, link: FrontendLink, message: ToWorker) -> None:
        """Answers a message, now or later, if it is a question."""
        match message:
            case Tokenize():
                self._tokenizing.take(link, message)
            case FetchFile():
                self._card_files.send(link, message.sha256)
            case FetchOutput():
                self.outputs.fetch(link, message)
            case AskJobs():
                self.outputs.tell(link, message)
            case _:
                pass

    def close(self) -> None:
        """Gives up whatever has no answer yet."""
        self._tokenizing.close()
        self._card_files.close()
        self.outputs.close()
