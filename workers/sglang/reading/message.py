"""An answer's text is turned into parts by SGLang's own parsers: while the text comes, and at its
end.

SGLang has two parsers of every format, one for whole texts and one for streams, and they do not
always agree. The whole text's is the one that counts: what the stream's parser showed is completed
at the end by what is missing (`shown.Shown.settle`). Stream parsers are particular about how text
is cut (`families`). What nobody reads as it comes goes to both parsers too, so that an answer does
not depend on how it was asked for, but to the stream's only if there may be a call: on prose they
agree. What neither parser makes anything of is content (`lost`).
"""

import logging
import re
from time import thread_time
from typing import Any, Final

from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest

from protocol.generation import Content, Finished, Part
from workers.sglang.reading.calls import CallIds
from workers.sglang.reading.lost import Unseen
from workers.sglang.reading.parsers import Parsers
from workers.sglang.reading.shown import Shown
from workers.sglang.reading.stream import AnswerSearch, AnswerStream
from workers.sglang.reading.whole import WholeMessage

log = logging.getLogger(__name__)

BUDGET_S: Final = 0.25
BUDGET_S_PER_CHAR: Final = 40e-6
"""The parsers of streams may take this many seconds of CPU time for each character of an answer,
beside BUDGET_S, on the loop that all share: ten times what they usually need. What a model can be
made to say, as ten thousand opening brackets, takes some of them seconds.
"""

_MAY_BEGIN_CALL: Final = re.compile(r"[\[{]|<(?!/?think>)")
"""A call begins with a character that matches this in every format."""


class Plain:
    """A Plain takes text that is content and nothing else."""

    def feed(self, text: str) -> list[Part]:
        return [Content(text)] if text else []

    def end(self, text: str, finished: Finished) -> list[Part]:  # noqa: ARG002 - as Parsed's
        return self.feed(text)


class Parsed:
    """A Parsed makes an answer into thinking, content and tool calls.

    Keeps the whole text until its end, at most the model's context.

    Args:
        serving: SGLang's chat serving, with the parsers' names and rules.
        chat: the request as SGLang has prepared it.
        ids: names the calls.
        whole: nobody reads it as it comes.
    """

    def __init__(
        self, serving: Any, chat: ChatCompletionRequest, ids: CallIds, *, whole: bool
    ) -> None:
        self._parsers = Parsers(serving, chat)
        self._shown = Shown(ids)
        self._text: list[str] = []
        self._unseen = Unseen()
        parsed_as_it_comes = self._parsers.call_active or not whole
        self._stream = (
            AnswerStream(self._parsers, self._shown, self._unseen) if parsed_as_it_comes else None
        )
        self._waits = whole
        self._budget_s = BUDGET_S
        self._gave_up = False

    def answer_search(self) -> AnswerSearch | None:
        """Returns what finds the beginning of the answer; None where it is that of the text."""
        thinking = self._parsers.thinking(stream=True)
        return None if thinking is None else AnswerSearch(thinking, self._parsers.snippets())

    def feed(self, text: str) -> list[Part]:
        if not text:
            return []
        self._text.append(text)
        return self._show(text, last=False)

    def end(self, text: str, finished: Finished) -> list[Part]:
        text = self._parsers.settled("".join(self._text), text, finished)
        self._text.append(text)
        parts = self._show(text, last=True)
        text = "".join(self._text)
        try:
            whole = self._parsers.whole(text, finished)
        except Exception:
            log.exception("SGLang's parsers failed on an answer, which is shown as it came")
            whole = WholeMessage("", text, [])
        parts += self._shown.settle(whole)
        return parts + self._shown.lost(text, self._unseen, finished)

    def _show(self, text: str, *, last: bool) -> list[Part]:
        if self._gave_up:
            self._unseen.take(text, "", called=False, name="")
        if self._stream is None or (self._waits and _MAY_BEGIN_CALL.search(text) is None):
            return []
        # cut as it came, on which the parser of streams depends
        texts = self._text if self._waits else [text]
        self._waits = False
        begun_s = thread_time()
        parts: list[Part] = []
        try:
            for each in texts[:-1]:
                parts += self._stream.take(each, last=False)
            parts += self._stream.take(texts[-1], last=last)
        except Exception:
            # Written for what models mean to say, these parsers may fail on what they do say; the
            # whole text is parsed at the end.
            log.exception("SGLang's parsers failed on a stream, whose rest comes at its end")
            self._give_up(self._stream)
            return parts
        self._budget_s += sum(map(len, texts)) * BUDGET_S_PER_CHAR - (thread_time() - begun_s)
        if self._budget_s < 0 and not last:
            log.info(
                "an answer takes so long to parse as it comes that its rest is parsed at its end"
            )
            self._give_up(self._stream)
        return parts

    def _give_up(self, stream: AnswerStream) -> None:
        """Gives the parsers of streams no more: what they have not taken is unseen, unless it is
        still thinking, which has no calls.
        """
        self._stream, self._gave_up = None, stream.in_answer
        if stream.in_answer:
            self._unseen.take("".join(self._text)[stream.taken_chars :], "", called=False, name="")
