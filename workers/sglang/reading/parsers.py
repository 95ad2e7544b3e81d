"""A request has three of SGLang's parsers: of thinking, of calls as they come, and of whole
texts.
"""

import logging
import re
from typing import Any, Final

from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, ToolChoice
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.function_call.json_array_parser import JsonArrayParser
from sglang.srt.parser.reasoning_parser import ReasoningParser
from sglang.srt.parser.response_template import grammar_holds_calls

from protocol.generation import Finished
from workers.sglang.reading.families import Snippets, is_too_dear, snippets_for
from workers.sglang.reading.shown import WholeCall, WholeMessage

log = logging.getLogger(__name__)

_OF_A_MARK: Final = re.compile(r"[<\[{|｜(]")  # noqa: RUF001 - DeepSeek's own


class Parsers:
    """Parsers has SGLang's parsers for one request, chosen as its chat serving chooses them
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
        """Says whether calls are looked for: without a parser a forced call is JSON, to which the
        grammar holds the engine.
        """

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

    def snippets(self) -> Snippets:
        serving = self._serving
        return snippets_for(
            serving.tool_call_parser if self._native else None, serving.reasoning_parser
        )

    def calls(self) -> "CallStream | None":
        if not self.call_active:
            return None
        parser = self._native_calls()
        if self._forced and (parser is None or not parser.owns_tool_format()):
            return CallStream(JsonArrayParser(), self._tools)
        assert parser is not None
        return CallStream(parser, self._tools)

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
        """Returns what the detector of this format keeps of its marks."""
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
        """Returns the last text as SGLang shows it: a response template's grammar may end a call
        without its closing mark.
        """
        return self._serving._settle_response_template_stop(
            text, _finish_reason(finished), self._chat, before + text
        )

    def answer_started(self, thinking: ReasoningParser | None) -> bool:
        return self._serving._answer_started(thinking)

    def whole(self, text: str, finished: Finished) -> WholeMessage:
        """Returns the answer as SGLang's parsers of whole texts read it."""
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


class _AnyName(dict[str, int]):
    """An _AnyName has the places of tools by their names, and of every other name: whether a tool
    exists is for the client to say.
    """

    def __contains__(self, name: object) -> bool:
        return bool(name)

    def __missing__(self, name: str) -> int:
        return -1


def _any_name(tools: list[Any]) -> _AnyName:
    return _AnyName({tool.function.name: index for index, tool in enumerate(tools)})


class CallStream:
    """A CallStream is one of SGLang's two kinds of parsers of calls in a stream: of a model's own
    format (`native`), or of forced calls in JSON.
    """

    def __init__(self, parser: FunctionCallParser | JsonArrayParser, tools: list[Any]) -> None:
        self.native = not isinstance(parser, JsonArrayParser)
        self._parser = parser
        self._tools = tools

    def take(self, text: str, *, last: bool) -> tuple[str, list[Any]]:
        """Takes more text and returns content, and SGLang's `ToolCallItem`s."""
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
    """Returns the reason of an end as SGLang's messages have it; its parsers change it."""
    matched = (
        finished.matched_stop if finished.matched_token_id is None else finished.matched_token_id
    )
    return {"type": finished.reason, "matched": matched}
