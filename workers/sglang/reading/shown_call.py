"""A tool call is kept as far as it has been shown."""

import json
import logging
from typing import Any

from workers.sglang.reading.whole import WholeCall

log = logging.getLogger(__name__)


class ShownCall:
    """A ShownCall is what went out of one call of an answer."""

    __slots__ = ("arguments", "index", "name")

    def __init__(self, index: int, name: str, arguments: str) -> None:
        self.index = index
        self.name = name
        self.arguments = [arguments]

    @property
    def is_complete(self) -> bool:
        """Tells whether the call's arguments are an object in JSON."""
        return isinstance(_json("".join(self.arguments)), dict)

    def may_be(self, whole: WholeCall) -> bool:
        """Tells whether what was shown is this call or its beginning."""
        shown = "".join(self.arguments)
        return self.name == whole.name and (
            whole.arguments.startswith(shown) or _json(shown) == _json(whole.arguments)
        )

    def rest(self, whole: WholeCall) -> str:
        """Returns what is missing of the call's arguments."""
        shown = "".join(self.arguments)
        if whole.arguments.startswith(shown):
            return whole.arguments[len(shown) :]
        if _json(shown) == _json(whole.arguments):
            return ""
        log.debug(
            "SGLang's parsers of streams and of whole texts disagree on a call; shown is "
            "what the stream's says"
        )
        return ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def whole_characters(arguments: str) -> str:
    """Returns the arguments with halves of characters as U+FFFD. SGLang reads and writes the JSON
    of a call, and with it escapes of such halves (`"\\ud83d"`), which are no text that could be
    sent.
    """
    return (
        arguments
        if arguments.isascii()
        else arguments.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
