"""SGLang's own chat serving is asked what it makes of a request whose prompt is rendered already:
its constraint, special tokens and parsers.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final
from weakref import WeakValueDictionary

from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, ToolChoice
from sglang.srt.parser.response_template import tool_close_token_ids

from protocol.errors import InvalidRequest
from protocol.generation import Generate, Reading
from protocol.tokens import TOKEN_ID_BYTES, unpack_tokens
from workers.sglang.reading.answer_or_call import answer_or_call
from workers.sglang.reading.calls import CallIds
from workers.sglang.reading.message import Parsed, Plain
from workers.sglang.reading.reader import Reader
from workers.sglang.reading.serving import ChatServing, chat_of, param_of
from workers.sglang.reading.tags import bounded
from workers.sglang.texts import TokenTexts

_GRAMMARS: Final = ("json_schema", "regex", "ebnf", "structural_tag")
_BESIDE_GRAMMAR: Final = ("ebnf_full_assistant", "custom_params")
"""These sampling parameters say how SGLang's scheduler applies the constraint."""

REPLAYED_AT_ONCE: Final = 64
"""So many tokens of an answer that goes on here are replayed between two turns of the loop."""

_NO_TOKENS: Final = [0]
"""This stands for the prompt, which only response templates look at; anything that is there means
that nothing is to be rendered.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """A Plan says how a request is generated and read.

    Attributes:
        grammar: constraint of a forced or strict tool call, or of a response format and calls
        together, which then stands for the request's own, as SGLang's sampling parameter and its
        text; None if there is none.
        beside_grammar: further sampling parameters that belong to it.
        require_reasoning: the grammar begins behind the thinking.
        skip_special_tokens: leave special tokens out of the text; parsers may need them in.
        reader: reads this request's tokens, from the first one on: `replay` is for those that were
        shown already.
        shown: these tokens, packed u32.
        prepared: kept as long as the request runs, for its other choices.
    """

    grammar: tuple[str, str] | None
    beside_grammar: Mapping[str, Any]
    require_reasoning: bool
    skip_special_tokens: bool
    reader: Reader
    shown: bytes = b""
    prepared: "_Prepared | None" = None

    def replay(self) -> Iterator[None]:
        """Has the reader take what was shown already, a portion with each step: all of a long
        answer takes a second.
        """
        for start in range(0, len(self.shown), REPLAYED_AT_ONCE * TOKEN_ID_BYTES):
            self.reader.replay(
                unpack_tokens(self.shown[start : start + REPLAYED_AT_ONCE * TOKEN_ID_BYTES])
            )
            yield


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class _Prepared:
    """A _Prepared is what SGLang's chat serving made of a chat, for the plans of all choices.

    Nobody changes it.
    """

    chat: ChatCompletionRequest
    params: Mapping[str, Any]
    grammar: tuple[str, str] | None
    beside_grammar: Mapping[str, Any]
    require_reasoning: bool


class Readings:
    """Readings plans the readings of one engine.

    Args:
        manager: SGLang's TokenizerManager.
        templates: SGLang's TemplateManager, which knows what the chat template makes of thinking.
    """

    def __init__(self, manager: Any, templates: Any) -> None:
        # what it cannot be called is for the client to say
        os.environ.setdefault("SGLANG_FORWARD_UNKNOWN_TOOLS", "true")
        self._serving = ChatServing(manager, templates)
        self._texts = TokenTexts(manager.tokenizer)
        self._whitespace_max: int | None = manager.server_args.constrained_json_max_whitespace_cnt
        self._known: WeakValueDictionary[bytes, _Prepared] = WeakValueDictionary()
        self._kept_stop_ids = frozenset(
            tool_close_token_ids(self._serving.tool_call_parser, manager.tokenizer)
        ) | _kept_by_gpt_oss(self._serving.tool_call_parser)

    async def ready(self, request: Generate) -> Plan:
        """Returns the plan, with its reader behind what was shown already. The loop turns
        meanwhile.

        Raises:
            InvalidRequest: as `plan`.
        """
        plan = self.plan(request)
        for _ in plan.replay():
            await asyncio.sleep(0)
        return plan

    def plan(self, request: Generate) -> Plan:
        """Decides how `request`, whose `reading` is set, is generated and read.

        Raises:
            InvalidRequest: SGLang refuses the chat's tools or what else is for the parsers.
        """
        reading = request.reading
        assert reading is not None
        rendered = request.token_ids[
            : len(request.token_ids) - reading.replayed_tokens * TOKEN_ID_BYTES
        ]
        plan = (
            self._chat(request, reading, rendered)
            if reading.chat
            else self._plain(request, reading)
        )
        return replace(plan, shown=request.token_ids[len(rendered) :])

    def _plain(self, request: Generate, reading: Reading) -> Plan:
        skip = reading.skip_special_tokens
        reader = self._reader(request, reading, Plain(), reading.stops, skip_special_tokens=skip)
        return Plan(None, {}, require_reasoning=False, skip_special_tokens=skip, reader=reader)

    def _chat(self, request: Generate, reading: Reading, rendered: bytes) -> Plan:
        prepared = self._prepared(request, reading, rendered)
        chat, params = prepared.chat, prepared.params
        ids = CallIds(
            self._serving, reading.first_request_id or request.request_id, reading.calls_before
        )
        parsed = Parsed(self._serving, chat, ids, whole=reading.whole)
        skip = bool(params["skip_special_tokens"])
        return Plan(
            grammar=prepared.grammar,
            beside_grammar=prepared.beside_grammar,
            require_reasoning=prepared.require_reasoning,
            skip_special_tokens=skip,
            # SGLang adds what ends a call in formats where the model does not stop by itself.
            reader=self._reader(
                request,
                reading,
                parsed,
                [*reading.stops, *params["stop"]],
                skip_special_tokens=skip,
                one_call=_wants_one_call(chat),
            ),
            prepared=prepared,
        )

    def _prepared(self, request: Generate, reading: Reading, rendered: bytes) -> "_Prepared":
        """Returns what SGLang makes of the chat: once for all choices of a request, which come one
        by one.
        """
        key = blake2b(
            repr(
                (len(reading.chat), len(rendered), reading.skip_special_tokens, request.grammar)
            ).encode()
        )
        key.update(reading.chat)
        key.update(rendered)
        prepared = self._known.get(key.digest())
        if prepared is None:
            prepared = self._known[key.digest()] = self._prepare(request, reading, rendered)
        return prepared

    def _prepare(self, request: Generate, reading: Reading, rendered: bytes) -> "_Prepared":
        chat = chat_of(reading)
        serving = self._serving
        either = self._either(request, chat)
        chat.input_ids = list(unpack_tokens(rendered)) if serving.reads_prompt(chat) else _NO_TOKENS
        try:
            refusal = serving._validate_request(chat)
            if refusal is not None:
                raise InvalidRequest(refusal, param=param_of(refusal))
            adapted, chat = serving._convert_to_internal_request(chat)
        # SGLang's validation, xgrammar's and Pydantic's among it
        except (ValueError, TypeError) as error:
            raise InvalidRequest(str(error), param="tools") from error
        params = adapted.sampling_params
        kind = next((kind for kind in _GRAMMARS if params.get(kind)), None)
        return _Prepared(
            chat,
            params,
            grammar=self._bounded(either or (None if kind is None else (kind, params[kind]))),
            beside_grammar={}
            if either
            else {name: params[name] for name in _BESIDE_GRAMMAR if params.get(name)},
            require_reasoning=bool(adapted.require_reasoning),
        )

    def _bounded(self, grammar: tuple[str, str] | None) -> tuple[str, str] | None:
        """Returns the grammar with the white space in structural tags bounded: SGLang bounds that
        of JSON schemas, and not of the JSON in structural tags.
        """
        if grammar is None or grammar[0] != "structural_tag":
            return grammar
        return grammar[0], bounded(grammar[1], self._whitespace_max)

    def _either(self, request: Generate, chat: ChatCompletionRequest) -> tuple[str, str] | None:
        """Returns the grammar of a response format beside tools that may be called.

        In formats without one the answer is JSON and no call.
        """
        if (
            request.grammar is None
            or request.grammar.kind != "json_schema"
            or not chat.tools
            or not self._serving.tool_call_parser
        ):
            return None
        tag = answer_or_call(
            request.grammar.text,
            chat.tools,
            self._serving.tool_call_parser,
            self._serving.tokenizer_manager.tokenizer,
            one_call=chat.parallel_tool_calls is False,
        )
        if tag is None:
            chat.tools, chat.tool_choice = None, "none"
            return None
        return "structural_tag", tag

    def _reader(
        self,
        request: Generate,
        reading: Reading,
        message: Parsed | Plain,
        stops: list[str],
        *,
        skip_special_tokens: bool,
        one_call: bool = False,
    ) -> Reader:
        patterns = request.sampling.stop_regex
        return Reader(
            self._texts.new(skip_special_tokens=skip_special_tokens),
            message,
            stops=stops,
            patterns=patterns,
            answering=message.answer_search()
            if (stops or patterns) and isinstance(message, Parsed)
            else None,
            include_stop=reading.include_stop,
            hidden_stop_ids=self._texts.special_ids
            if reading.skip_special_tokens and not skip_special_tokens
            else frozenset(),
            min_tokens=request.sampling.min_new_tokens,
            kept_stop_ids=self._kept_stop_ids,
            one_call=one_call,
            whole=reading.whole,
        )


def _wants_one_call(chat: ChatCompletionRequest) -> bool:
    """Tells whether at most one call is wanted: who names a function wants it called, and once."""
    return chat.parallel_tool_calls is False or isinstance(chat.tool_choice, ToolChoice)


def _kept_by_gpt_oss(parser: str | None) -> frozenset[int]:
    """Returns the stop tokens that are part of a call: in gpt-oss's format <|call|>, which ends its
    answer too (DetokenizerManager.trim_matched_stop).
    """
    return frozenset({200_012}) if parser == "gpt-oss" else frozenset()
