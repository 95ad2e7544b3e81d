"""An answer is described as SGLang's parsers of whole texts read it."""

from msgspec import Struct


class WholeCall(Struct, frozen=True):
    """A WholeCall is a tool call with its arguments in JSON."""

    name: str
    arguments: str


class WholeMessage(Struct, frozen=True):
    """A WholeMessage is an answer as SGLang's parsers of whole texts read it."""

    reasoning: str
    content: str
    calls: list[WholeCall]
