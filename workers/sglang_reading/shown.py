"""What of an answer has been shown, and what is still to be, so that all of it is what the parsers of whole texts say."""

import json
import logging
from typing import Any

from msgspec import Struct

from protocol.replies import Content, Part, Reasoning, ToolCall
from workers.sglang_reading.calls import CallIds

log = logging.getLogger(__name__)


class WholeCall(Struct, frozen=True):
    """A tool call with its arguments in JSON."""

    name: str
    arguments: str


class WholeMessage(Struct, frozen=True):
    """An answer as SGLang's parsers of whole texts read it."""

    reasoning: str
    content: str
    calls: list[WholeCall]


class Shown:
    """What went out of one answer. White space at the end of text waits: parsers of whole texts cut it off before a call.

    Args:
        ids: names the calls.
    Attributes:
        call_chars: characters of the latest call's arguments; 0 before the first.
    """

    def __init__(self, ids: CallIds) -> None:
        self.call_chars = 0
        self._ids = ids
        self._reasoning = _Prose()
        self._content = _Prose()
        self._calls: list[_ShownCall] = []
        self._by_tool_index: dict[int, _ShownCall] = {}

    def reasoning(self, text: str) -> list[Part]:
        shown = self._reasoning.take(text)
        return [Reasoning(shown)] if shown else []

    def content(self, text: str) -> list[Part]:
        """Content; behind a call it waits for the end, as many formats allow none there and SGLang's parsers drop what comes."""
        if self._calls:
            self._content.wait(text)
            return []
        shown = self._content.take(text)
        return [Content(shown)] if shown else []

    def call(self, item: Any) -> list[Part]:
        """A piece of a call, SGLang's `ToolCallItem`."""
        arguments = _whole_characters(item.parameters or "")
        self.call_chars = len(arguments) + (0 if item.name else self.call_chars)
        call = self._by_tool_index.get(item.tool_index)
        if item.name:
            call = self._by_tool_index[item.tool_index] = _ShownCall(len(self._calls), item.name)
            self._calls.append(call)
            call.arguments.append(arguments)
            return [ToolCall(call.index, self._ids.of(call.index, item.name), item.name, arguments)]
        if call is None or not arguments:
            return []
        call.arguments.append(arguments)
        return [ToolCall(call.index, arguments=arguments)]

    def settle(self, whole: WholeMessage) -> list[Part]:
        """What is missing of `whole`. What was shown beyond it, as the beginning of a call that was cut off, stays."""
        parts: list[Part] = []
        # What separates the thinking from what follows belongs to neither, and would come behind it here.
        reasoning = whole.reasoning.rstrip() if whole.content or whole.calls or self._content.begun or self._calls else whole.reasoning
        thought = self._reasoning.rest(reasoning)
        if thought:
            parts.append(Reasoning(thought))
        # Some parsers of whole texts make content of thinking that ends in no answer; it was shown as thinking.
        content = self._content.rest(whole.content) if thought is not None else None
        if content is None:
            content = self._content.waiting
        # A call that is cut off is none to parsers of whole texts, some of which then count its text as content.
        if content and len(self._calls) <= len(whole.calls):
            parts.append(Content(content))
        for index, read in enumerate(whole.calls):
            call = WholeCall(read.name, _whole_characters(read.arguments))
            if index >= len(self._calls):
                self._calls.append(_ShownCall(index, call.name))
                parts.append(ToolCall(index, self._ids.of(index, call.name), call.name, call.arguments))
            elif rest := self._calls[index].rest(call):
                parts.append(ToolCall(index, arguments=rest))
        return parts


class _Prose:
    """Text that went out, and white space and other text that waits behind it."""

    __slots__ = ("_shown", "waiting")

    def __init__(self) -> None:
        self._shown: list[str] = []
        self.waiting = ""

    @property
    def begun(self) -> bool:
        """Whether anything went out."""
        return bool(self._shown)

    def take(self, text: str) -> str:
        """What of the text may go out."""
        text = self.waiting + text
        clear = text.rstrip()
        self.waiting = text[len(clear) :]
        if clear:
            self._shown.append(clear)
        return clear

    def wait(self, text: str) -> None:
        self.waiting += text

    def rest(self, whole: str) -> str | None:
        """What is missing of `whole`, or None where something else was shown. Parsers of whole texts also cut white space off at the
        beginning, which is no difference."""
        shown = "".join(self._shown)
        for beginning in (shown, shown.lstrip()):
            if whole.startswith(beginning):
                return whole[len(beginning) :]
        log.debug("SGLang's parsers of streams and of whole texts disagree on an answer; shown is what the stream's says")
        return None


class _ShownCall:
    __slots__ = ("arguments", "index", "name")

    def __init__(self, index: int, name: str) -> None:
        self.index = index
        self.name = name
        self.arguments: list[str] = []

    def rest(self, whole: WholeCall) -> str:
        """What is missing of the arguments."""
        shown = "".join(self.arguments)
        if self.name == whole.name:
            if whole.arguments.startswith(shown):
                return whole.arguments[len(shown) :]
            if _json(shown) == _json(whole.arguments):
                return ""
        log.debug("SGLang's parsers of streams and of whole texts disagree on a call; shown is what the stream's says")
        return ""


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _whole_characters(arguments: str) -> str:
    """SGLang reads and writes the JSON of a call, and with it escapes of half a character (`"\\ud83d"`), which are no text that could be
    sent. They become U+FFFD."""
    return arguments if arguments.isascii() else arguments.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
