"""The parsers of streams stand in a row, and find where the answer begins behind thinking."""

import logging

from sglang.srt.parser.reasoning_parser import ReasoningParser

from protocol.generation import Part
from workers.sglang.reading.families import Snippets, bite_chars
from workers.sglang.reading.lost import Unseen
from workers.sglang.reading.parsers import Parsers
from workers.sglang.reading.shown import Shown

log = logging.getLogger(__name__)


class AnswerSearch:
    """An AnswerSearch finds where the answer begins behind thinking, as the parser of streams sees
    it.

    The white space between is of neither.
    """

    def __init__(self, thinking: ReasoningParser, snippets: Snippets) -> None:
        self._thinking = thinking
        self._snippets = snippets

    def chars_in(self, text: str) -> int:
        """Returns how many of the text's last characters are of the answer, as `reader.Answering`
        has it.
        """
        answer = ""
        try:
            for snippet in self._snippets.feed(text, last=False):
                answer += self._thinking.parse_stream_chunk(snippet)[1] or ""
        except Exception:
            log.exception("SGLang's parser of thinking failed on a stream")
            return len(text)
        return min(len(answer.lstrip()), len(text))


class AnswerStream:
    """An AnswerStream runs the parsers of streams in a row: thinking, then calls in what is left of
    the text.

    Attributes:
        taken_chars: of the text, those that they have got.
        in_answer: the thinking is over, or there was none.
    """

    def __init__(self, parsers: Parsers, shown: Shown, unseen: Unseen) -> None:
        self._parsers = parsers
        self._shown = shown
        self._unseen = unseen
        self._thinking = parsers.thinking(stream=True)
        self._calls = parsers.calls()
        self._snippets = parsers.snippets()
        self._call_format = (
            parsers.tool_call_parser if self._calls is not None and self._calls.native else None
        )
        self._gathered = ""
        self._silent_chars = 0
        self.taken_chars = 0
        self.in_answer = self._thinking is None

    def take(self, text: str, *, last: bool) -> list[Part]:
        """Returns what the parsers make of more text; with the last, also what they hold back."""
        parts: list[Part] = []
        for snippet in self._snippets.feed(text, last=last):
            self._gathered += snippet
            if len(self._gathered) >= bite_chars(
                self._call_format, self._shown.call_chars, self._silent_chars
            ):
                gained = self._parse(self._gathered, last=False)
                self._silent_chars = 0 if gained else self._silent_chars + len(self._gathered)
                self._gathered = ""
                parts += gained
        return (
            parts + self._parse(self._gathered, last=False) + self._parse("", last=True)
            if last
            else parts
        )

    def _parse(self, text: str, *, last: bool) -> list[Part]:
        parts = self._read(text, last=last)
        self.taken_chars += len(text)
        return parts

    def _read(self, text: str, *, last: bool) -> list[Part]:
        reasoning, text = self._think(text, last=last)
        parts = self._shown.reasoning(reasoning) if reasoning else []
        self.in_answer = self.in_answer or bool(text)
        if self._calls is not None and not self._parsers.answer_started(self._thinking):
            content, calls = self._calls.take(text, last=last)
            name = next((call.name for call in calls if call.name), "")
            between = self._unseen.take(
                text, content, called=any(map(self._shown.is_of_a_call, calls)), name=name
            )
            if content := between + content:
                parts += self._shown.content(content)
            for call in calls:
                parts += self._shown.call(call)
        elif text:
            parts += self._shown.content(text)
        return parts

    def _think(self, text: str, *, last: bool) -> tuple[str, str]:
        if self._thinking is None:
            return "", text
        reasoning, rest = self._thinking.parse_stream_chunk(text)
        reasoning, rest = reasoning or "", rest or ""
        if last:
            end_reasoning, end_rest = self._thinking.parse_stream_end()
            reasoning, rest = reasoning + (end_reasoning or ""), rest + (end_rest or "")
        return reasoning, rest
