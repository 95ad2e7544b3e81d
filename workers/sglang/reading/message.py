"""Text → parts, by SGLang's own parsers: while the text comes, and at its end.

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

from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, ToolChoice
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.function_call.json_array_parser import JsonArrayParser
from sglang.srt.parser.reasoning_parser import ReasoningParser
from sglang.srt.parser.response_template import grammar_holds_calls

from protocol.generation import Content, Finished, Part
from workers.sglang.reading.calls import CallIds
from workers.sglang.reading.families import Pieces, bite_chars, is_too_dear, pieces_for
from workers.sglang.reading.lost import Unseen
from workers.sglang.reading.shown import Shown, WholeCall, WholeMessage

log = logging.getLogger(__name__)

BUDGET_S: Final = 0.25
BUDGET_S_PER_CHAR: Final = 40e-6
"""CPU time that the parsers of streams may take of an answer, on the loop that all share: ten times
what they usually need. What a model can be made to say, as ten thousand opening brackets, takes
some of them seconds.
"""

_MAY_BEGIN_CALL: Final = re.compile(r"[\[{]|<(?!/?think>)")
"""The first character of a call in every format."""


_OF_A_MARK: Final = re.compile(r"[<\[{|｜(]")  # noqa: RUF001 - DeepSeek's own


class Plain:
    """Text that is content and nothing else."""

    def feed(self, text: str) -> list[Part]:
        return [Content(text)] if text else []

    def end(self, text: str, finished: Finished) -> list[Part]:  # noqa: ARG002 - as Parsed's
        return self.feed(text)


class Parsed:
    """An answer of thinking, content and tool calls.

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
            _Stream(self._parsers, self._shown, self._unseen) if parsed_as_it_comes else None
        )
        self._waits = whole
        self._budget_s = BUDGET_S
        self._gave_up = False

    def answer_search(self) -> "AnswerSearch | None":
        """What finds the beginning of the answer; None where it is that of the text."""
        thinking = self._parsers.thinking(stream=True)
        return None if thinking is None else AnswerSearch(thinking, self._parsers.pieces())

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

    def _give_up(self, stream: "_Stream") -> None:
        """The parsers of streams get no more: what they have not taken is unseen, unless it is
        still thinking, which has no calls.
        """
        self._stream, self._gave_up = None, stream.in_answer
        if stream.in_answer:
            self._unseen.take("".join(self._text)[stream.taken_chars :], "", called=False, name="")


class Parsers:
    """SGLang's parsers for one request, chosen as its chat serving chooses them
    (`_build_chat_response`, `_process_tool_call_stream`).
    """

    def __init__(self, serving: Any, chat: ChatCompletionRequest) -> None:
        self.tool_call_parser: str | None = serving.tool_call_parser
        self._serving = serving
        self._chat = chat
        self._tools = serving._effective_tools(chat)
        self._forced = chat.tool_choice == "required" or isinstance(chat.tool_choice, ToolChoice)
        self._native = bool(serving._tool_call_parsing_active(chat))
        self.call_active = self._native or (self._forced and not serving.tool_call_parser)
        """Without a parser a forced call is JSON, to which the grammar holds the engine."""

    def thinking(self, *, stream: bool) -> ReasoningParser | None:
        serving, chat = self._serving, self._chat
        if not serving.reasoning_parser or not chat.separate_reasoning:
            return None
        return ReasoningParser(
            model_type=serving.reasoning_parser,
            stream_reasoning=stream and chat.stream_reasoning,
            force_reasoning=serving.template_manager.force_reasoning
            or serving._get_reasoning_from_request(chat),
            request=chat,
            tokenizer=serving.tokenizer_manager.tokenizer,
            tool_call_parser_active=self._native,
        )

    def pieces(self) -> Pieces:
        serving = self._serving
        return pieces_for(
            serving.tool_call_parser if self._native else None, serving.reasoning_parser
        )

    def calls(self) -> "_CallStream | None":
        if not self.call_active:
            return None
        parser = self._native_calls()
        if self._forced and (parser is None or not parser.owns_tool_format()):
            return _CallStream(JsonArrayParser(), self._tools)
        assert parser is not None
        return _CallStream(parser, self._tools)

    def _native_calls(self) -> FunctionCallParser | None:
        serving, chat = self._serving, self._chat
        if not serving.tool_call_parser:
            return None
        parser = FunctionCallParser(
            tools=self._tools,
            tool_call_parser=serving.tool_call_parser,
            tokenizer=serving.tokenizer_manager.tokenizer,
            tool_choice=chat.tool_choice if self._forced else None,
            prefix=chat._response_parser_prefix,
            constrained=self._constrained(),
        )
        # The parser of whole texts is told by SGLANG_FORWARD_UNKNOWN_TOOLS, which most of the
        # streams' pass over.
        parser.detector._get_tool_indices = _any_name
        return parser

    def _marks(self) -> list[str]:
        """What the detector of this format keeps of its marks."""
        parser = self._native_calls()
        values = [] if parser is None else vars(parser.detector).values()
        return [
            value
            for value in values
            if isinstance(value, str) and len(value) > 1 and _OF_A_MARK.search(value)
        ]

    def _constrained(self) -> bool:
        return grammar_holds_calls(
            self._chat._response_parser_tool_grammar, self._chat._response_parser_grammar_start
        )

    def settled(self, before: str, text: str, finished: Finished) -> str:
        """The last text as SGLang shows it: a response template's grammar may end a call without
        its closing mark.
        """
        return self._serving._settle_response_template_stop(
            text, _finish_reason(finished), self._chat, before + text
        )

    def answer_started(self, thinking: ReasoningParser | None) -> bool:
        return self._serving._answer_started(thinking)

    def whole(self, text: str, finished: Finished) -> WholeMessage:
        """The answer as SGLang's parsers of whole texts read it."""
        reasoning, thinking = "", self.thinking(stream=False)
        if thinking is not None:
            parsed, rest = thinking.parse_non_stream(text)
            reasoning, text = parsed or "", rest or ""
        if not self.call_active or self.answer_started(thinking):
            return WholeMessage(reasoning, text, [])
        if is_too_dear(text, self._marks(), self.tool_call_parser):
            log.info(
                "an answer has so many beginnings of calls, or so much white space, that it "
                "is not parsed as a whole"
            )
            return WholeMessage(reasoning, text, [])
        calls, text, _ = self._serving._process_tool_calls(
            text,
            self._tools,
            _finish_reason(finished),
            self._chat.tool_choice,
            response_parser_prefix=self._chat._response_parser_prefix,
            constrained=self._constrained(),
        )
        named = [
            WholeCall(call.function.name, call.function.arguments or "")
            for call in calls or ()
            if call.function.name
        ]
        return WholeMessage(reasoning, text or "", named)


class AnswerSearch:
    """Finds where the answer begins behind thinking, as the parser of streams sees it.

    The white space between is of neither.
    """

    def __init__(self, thinking: ReasoningParser, pieces: Pieces) -> None:
        self._thinking = thinking
        self._pieces = pieces

    def chars_in(self, text: str) -> int:
        """As `reader.Answering` has it."""
        answer = ""
        try:
            for piece in self._pieces.feed(text, last=False):
                answer += self._thinking.parse_stream_chunk(piece)[1] or ""
        except Exception:
            log.exception("SGLang's parser of thinking failed on a stream")
            return len(text)
        return min(len(answer.lstrip()), len(text))


class _Stream:
    """The parsers of streams in a row: thinking, then calls in what is left of the text.

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
        self._pieces = parsers.pieces()
        self._call_format = (
            parsers.tool_call_parser if self._calls is not None and self._calls.native else None
        )
        self._gathered = ""
        self._silent_chars = 0
        self.taken_chars = 0
        self.in_answer = self._thinking is None

    def take(self, text: str, *, last: bool) -> list[Part]:
        """What the parsers make of more text; with the last, also what they hold back."""
        parts: list[Part] = []
        for piece in self._pieces.feed(text, last=last):
            self._gathered += piece
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


class _AnyName(dict[str, int]):
    """The places of tools by their names, and of every other name: whether a tool exists is for the
    client to say.
    """

    def __contains__(self, name: object) -> bool:
        return bool(name)

    def __missing__(self, name: str) -> int:
        return -1


def _any_name(tools: list[Any]) -> _AnyName:
    return _AnyName({tool.function.name: index for index, tool in enumerate(tools)})


class _CallStream:
    """One of SGLang's two kinds of parsers of calls in a stream: of a model's own format
    (`native`), or of forced calls in JSON.
    """

    def __init__(self, parser: FunctionCallParser | JsonArrayParser, tools: list[Any]) -> None:
        self.native = not isinstance(parser, JsonArrayParser)
        self._parser = parser
        self._tools = tools

    def take(self, text: str, *, last: bool) -> tuple[str, list[Any]]:
        """Content, and SGLang's `ToolCallItem`s."""
        parser = self._parser
        if isinstance(parser, JsonArrayParser):
            result = parser.parse_streaming_increment(text, self._tools)
            content, calls = result.normal_text or "", list(result.calls)
            if last:
                end = parser.finish(self._tools)
                content, calls = content + end.normal_text, calls + end.calls
            return content, calls
        content, calls = parser.parse_stream_chunk(text)
        content, calls = content or "", list(calls)
        if last:
            end_content, end_calls = parser.parse_stream_end()
            content, calls = content + (end_content or ""), calls + list(end_calls)
        return content, calls


def _finish_reason(finished: Finished) -> dict[str, Any]:
    """As SGLang's messages have it; its parsers change it."""
    matched = (
        finished.matched_stop if finished.matched_token_id is None else finished.matched_token_id
    )
    return {"type": finished.reason, "matched": matched}
