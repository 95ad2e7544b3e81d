"""A tool call as far as it has been shown."""

import json
import logging
from typing import Any

from workers.sglang.reading.whole import WholeCall

log = logging.getLogger(__name__)


class ShownCall:
    """What went out of one call of an answer."""

    __slots__ = ("arguments", "index", "name")

    def __init__(self, index: int, name: str, arguments: str) -> None:
        self.index = index
        self.name = name
        self.arguments = [arguments]

    @property
    def is_complete(self) -> bool:
        """Whether its arguments are an object in JSON."""
        return isinstance(_json("".join(self.arguments)), dict)

    def may_be(self, whole: WholeCall) -> bool:
        """Whether what was shown is this call or its beginning."""
        shown = "".join(self.arguments)
        return self.name == whole.name and (
            whole.arguments.startswith(shown) or _json(shown) == _json(whole.arguments)
        )

    def rest(self, whole: WholeCall) -> str:
        """What is missing of the arguments."""
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
    """SGLang reads and writes the JSON of a call, and with it escapes of half a character
    (`"\\ud83d"`), which are no text that could be sent. They become U+FFFD.
    """
    return (
        arguments
        if arguments.isascii()
        else arguments.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )
