"""An answer's parts that have been shown are kept, so that all of it becomes what the parsers of
whole texts say.
"""

import logging
import re
from itertools import pairwise
from typing import Any, Final

from protocol.generation import Content, Finished, Part, Reasoning, ToolCall
from workers.sglang.reading.calls import CallIds
from workers.sglang.reading.families import SNIPPET_CHARS
from workers.sglang.reading.lost import (
    Unseen,
    is_more_than_an_end,
    rest_of_call,
    unread_calls,
    without_end,
)
from workers.sglang.reading.shown_call import ShownCall, whole_characters
from workers.sglang.reading.whole import WholeCall, WholeMessage

log = logging.getLogger(__name__)


_BEFORE_A_CALL: Final = re.compile(rf"[^<\[{{]{{1,{SNIPPET_CHARS}}}(?=[<\[{{]|\Z)")
"""Text before the mark of a call matches this, in one snippet with which the stream's parser passed
over it.
"""


PASSED_OVER_MAX: Final = 8
"""At most this many calls in a row are passed over that the parser of streams found and the one of
whole texts did not.

Each is compared with the next one found.
"""


class Shown:
    """A Shown is what went out of one answer.

    White space at the end of text waits: parsers of whole texts cut it off before a call.

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
        self._calls: list[ShownCall] = []
        self._by_tool_index: dict[int, ShownCall] = {}
        self._behind: list[list[str]] = []
        """Content behind each call is kept here, one list a call."""
        self._passed_over = False
        """Says whether the parser of whole texts has found a call that the stream's has not."""

    def reasoning(self, text: str) -> list[Part]:
        shown = self._reasoning.take(text)
        return [Reasoning(shown)] if shown else []

    def content(self, text: str) -> list[Part]:
        """Shows content; behind a call it waits for the end, as many formats allow none there and
        SGLang's parsers drop what comes.
        """
        if self._calls:
            self._behind[-1].append(text)
            return []
        shown = self._content.take(text)
        return [Content(shown)] if shown else []

    def is_of_a_call(self, item: Any) -> bool:
        """Tells whether a `ToolCallItem` begins a call or goes on with one.

        SGLang has others too, of calls without a name.
        """
        return bool(item.name) or item.tool_index in self._by_tool_index

    def call(self, item: Any) -> list[Part]:
        """Shows a piece of a call, SGLang's `ToolCallItem`."""
        arguments = whole_characters(item.parameters or "")
        self.call_chars = len(arguments) + (0 if item.name else self.call_chars)
        call = self._by_tool_index.get(item.tool_index)
        if item.name:
            call = self._by_tool_index[item.tool_index] = ShownCall(
                len(self._calls), item.name, arguments
            )
            self._calls.append(call)
            self._behind.append([])
            return [ToolCall(call.index, self._ids.of(call.index, item.name), item.name, arguments)]
        if call is None or not arguments:
            return []
        call.arguments.append(arguments)
        return [ToolCall(call.index, arguments=arguments)]

    def settle(self, whole: WholeMessage) -> list[Part]:
        """Returns the parts of `whole` that have not been shown.

        What was shown beyond it, as the beginning of a call that was cut off, stays.
        """
        parts: list[Part] = []
        # What separates the thinking from what follows belongs to neither, and would come behind it
        # here.
        reasoning = (
            whole.reasoning.rstrip()
            if whole.content or whole.calls or self._content.text or self._calls
            else whole.reasoning
        )
        thought = self._reasoning.rest(reasoning)
        if thought:
            parts.append(Reasoning(thought))
        # Some parsers of whole texts make content of thinking that ends in no answer; it was shown
        # as thinking.
        content = self._content.rest(whole.content) if thought is not None else None
        # A call that is cut off is none to parsers of whole texts, some of which then count its
        # text as content.
        if content and len(self._calls) > len(whole.calls):
            before = _BEFORE_A_CALL.match(content)
            content = before[0] if before else None
        calls = self._settle_calls(whole.calls)
        # Parsers of whole texts leave out what stands between calls and behind them.
        if not (content and content.strip()) and not self._passed_over:
            content = (
                self._content.waiting
                + "".join(without_end("".join(texts)) for texts in self._behind)
                or content
            )
        if content and (content.strip() or not self._calls):
            parts.append(Content(self._content.end(content)))
        return parts + calls

    def _settle_calls(self, calls: list[WholeCall]) -> list[Part]:
        """Returns the parts of the calls that have not been shown.

        One that the stream's parser passed over comes behind those that were shown.
        """
        parts: list[Part] = []
        streamed, next_one = list(self._calls), 0
        for read in calls:
            call = WholeCall(read.name, whole_characters(read.arguments))
            near = range(next_one, min(len(streamed), next_one + PASSED_OVER_MAX))
            same = next((at for at in near if streamed[at].may_be(call)), None)
            if same is None and next_one < len(streamed) and streamed[next_one].name == call.name:
                same = next_one  # read otherwise
            if same is not None:
                next_one = same + 1
                if rest := streamed[same].rest(call):
                    streamed[same].arguments.append(rest)
                    parts.append(ToolCall(streamed[same].index, arguments=rest))
                continue
            index = len(self._calls)
            self._calls.append(ShownCall(index, call.name, call.arguments))
            self._passed_over = True
            parts.append(ToolCall(index, self._ids.of(index, call.name), call.name, call.arguments))
        return parts

    def lost(self, text: str, unseen: Unseen, finished: Finished) -> list[Part]:
        """Returns, as parts, what neither parser made anything of, to come behind what settled.

        Of a call that is not complete it goes on with its arguments where the text has them in JSON
        too, and is content where it has not.
        """
        left = "".join(
            _rest_of_broken(text, call, before) for call, before in pairwise(self._calls)
        )
        if self._passed_over:  # the stream's parser did not follow, so what it saw is not known
            left += unread_calls(text, [call.name for call in self._calls], self._content.text)
            return [Content(left)] if left else []
        call = self._calls[-1] if self._calls and not self._calls[-1].is_complete else None
        if (
            call is not None
            and (found := rest_of_call(text, call.name, "".join(call.arguments))) is not None
        ):
            rest, behind = found
            parts: list[Part] = [ToolCall(call.index, arguments=rest)] if rest else []
            left += behind if is_more_than_an_end(behind) else ""
        else:
            cut_off = call is not None and (
                finished.reason == "length" or finished.matched_stop is not None
            )
            parts = []
            left += unseen.lost(
                behind_call=bool(self._calls), cut_off=cut_off, shown=self._content.text
            )
        return [*parts, Content(left)] if left else parts


def _rest_of_broken(text: str, call: ShownCall, following: ShownCall) -> str:
    """Returns, of a call that was given up for the one following, what its text has behind the
    arguments that were shown.
    """
    arguments = "".join(call.arguments)
    if call.is_complete or not arguments:
        return ""
    found = rest_of_call(text[: max(0, text.rfind(following.name))], call.name, arguments)
    return found[0] if found is not None and is_more_than_an_end(found[0]) else ""


class _Prose:
    """A _Prose is text that went out, and white space that waits behind it."""

    __slots__ = ("_shown", "waiting")

    def __init__(self) -> None:
        self._shown: list[str] = []
        self.waiting = ""

    def take(self, text: str) -> str:
        """Returns what of the text may go out."""
        text = self.waiting + text
        clear = text.rstrip()
        self.waiting = text[len(clear) :]
        if clear:
            self._shown.append(clear)
        return clear

    @property
    def text(self) -> str:
        """Returns all text that went out."""
        return "".join(self._shown)

    def end(self, text: str) -> str:
        """Takes the last text, of which nothing waits."""
        self._shown.append(text)
        self.waiting = ""
        return text

    def rest(self, whole: str) -> str | None:
        """Returns what is missing of `whole`, or None where something else was shown.

        Parsers of whole texts also cut white space off at the beginning, which is no difference.
        """
        shown = self.text
        for beginning in (shown, shown.lstrip()):
            if whole.startswith(beginning):
                return whole[len(beginning) :]
        log.debug(
            "SGLang's parsers of streams and of whole texts disagree on an answer; shown is "
            "what the stream's says"
        )
        return None
