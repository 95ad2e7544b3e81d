"""Run as a program: what requests ask of a reading, each check by itself; prints {check: failure or
null}. See read_recordings.py.
"""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import xgrammar
from read_recordings import CALLS, TOOLS, World, folded
from transformers import AutoTokenizer
from xgrammar.testing import _is_grammar_accept_string

from protocol.errors import InvalidRequest
from protocol.generation import Content, Finished, Generate, Grammar, Reading, Reasoning, Sampling
from protocol.tokens import pack_tokens
from workers.demo_model import demo_model_dir
from workers.sglang.arguments import parse_server_args

TEXT = (
    'I will look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich", "days": '
    "3}}\n</tool_call>"
)
THOUGHT = f"<think>Hm.</think>{TEXT}"
CALL = [CALLS[0]]
NAMED = {"type": "function", "function": {"name": "get_weather"}}


class Asking:
    """Plans and reads requests of one engine."""

    def __init__(self, tokenizer: Any, server_args: Any) -> None:
        self._tokenizer, self._server_args = tokenizer, server_args

    def plan(
        self,
        parsers: dict[str, str],
        chat: dict[str, Any] | None,
        *,
        request_id: str = "a" * 32,
        **fields: Any,
    ) -> Any:
        world = World(self._tokenizer, self._server_args, **parsers)
        sampling = Sampling(
            100,
            min_new_tokens=fields.pop("min_new_tokens", 0),
            stop_regex=fields.pop("stop_regex", []),
        )
        grammar = fields.pop("grammar", None)
        reading = Reading(
            b"" if chat is None else json.dumps({"model": "m", **chat}).encode(), **fields
        )
        return world._readings.plan(
            Generate(
                request_id,
                "m",
                pack_tokens([1, 2]),
                sampling,
                4_000_000_000_000,
                grammar=grammar,
                reading=reading,
            )
        )

    def parts(self, plan: Any, text: str, *, stop_token: int | None = None) -> list[Any]:
        ids = self.tokens(text) + ([] if stop_token is None else [stop_token])
        parts = [part for token_id in ids[:-1] for part in plan.reader.feed([token_id])]
        return parts + plan.reader.end(
            ids[-1:], Finished("stop", 2, len(ids), matched_token_id=stop_token)
        )

    def read(self, plan: Any, text: str, **how: Any) -> tuple[str, str, list[tuple[str, Any]]]:
        thinking, content, calls = folded(self.parts(plan, text, **how))
        return thinking, content, [(name, arguments) for _, name, arguments in calls]

    def tokens(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False)


QWEN = {"tool_calls": "qwen", "thinking": "qwen3"}


def thinking_content_and_calls(ask: Asking) -> None:
    assert ask.read(ask.plan(QWEN, {"tools": TOOLS}), THOUGHT) == ("Hm.", "I will look.", CALL)


def nothing_is_parsed_without_a_chat(ask: Asking) -> None:
    assert ask.read(ask.plan(QWEN, None), THOUGHT) == ("", THOUGHT, [])


def nothing_is_called_without_tools(ask: Asking) -> None:
    assert ask.read(ask.plan(QWEN, {"tools": TOOLS, "tool_choice": "none"}), THOUGHT) == (
        "Hm.",
        TEXT,
        [],
    )


def thinking_may_stay_in_the_content(ask: Asking) -> None:
    assert ask.read(ask.plan(QWEN, {"separate_reasoning": False}), "<think>Hm.</think>Yes.") == (
        "",
        "<think>Hm.</think>Yes.",
        [],
    )


def thinking_may_come_at_once(ask: Asking) -> None:
    parts = ask.parts(
        ask.plan(QWEN, {"stream_reasoning": False}), "<think>A long thought.</think>Yes."
    )
    assert [part for part in parts if isinstance(part, Reasoning)] == [Reasoning("A long thought.")]


def what_nobody_reads_comes_with_the_end(ask: Asking) -> None:
    plan = ask.plan(QWEN, {"tools": TOOLS}, whole=True)
    ids = ask.tokens(THOUGHT)
    assert plan.reader.feed(ids[:-1]) == []
    assert folded(plan.reader.end(ids[-1:], Finished("stop", 2, len(ids))))[:2] == (
        "Hm.",
        "I will look.",
    )


def a_stop_string_ends_the_answer(ask: Asking) -> None:
    plan = ask.plan(QWEN, {"tools": TOOLS}, stops=["look"])
    assert ask.read(plan, THOUGHT) == ("Hm.", "I will ", [])
    stopped_after = plan.reader.stopped_after_tokens
    assert plan.reader.matched_stop == "look"
    text_so_far = ask._tokenizer.decode(ask.tokens(THOUGHT)[:stopped_after])
    assert "look" in text_so_far
    assert "look" not in ask._tokenizer.decode(ask.tokens(THOUGHT)[: stopped_after - 1])


def a_stop_string_may_be_shown(ask: Asking) -> None:
    assert ask.read(
        ask.plan(QWEN, {"tools": TOOLS}, stops=["look"], include_stop=True), THOUGHT
    ) == ("Hm.", "I will look", [])


def a_stop_string_waits_for_min_tokens(ask: Asking) -> None:
    plan = ask.plan(QWEN, {"tools": TOOLS}, stops=["look"], min_new_tokens=len(ask.tokens(THOUGHT)))
    assert ask.read(plan, THOUGHT) == ("Hm.", "I will look.", CALL)
    assert plan.reader.stopped_after_tokens is None


def a_stop_token_is_not_shown(ask: Asking) -> None:
    assert ask.read(ask.plan(QWEN, {"tools": TOOLS}), THOUGHT, stop_token=7) == (
        "Hm.",
        "I will look.",
        CALL,
    )


def a_stop_token_is_shown_where_that_is_asked_for(ask: Asking) -> None:
    dot, end = ask.tokens(".")[-1], ask._tokenizer.convert_tokens_to_ids("<|im_end|>")
    for whole in (False, True):
        fields: dict[str, Any] = {"include_stop": True, "whole": whole}
        assert ask.read(
            ask.plan(QWEN, {"tools": TOOLS}, **fields), "<think>Hm.</think>Yes", stop_token=dot
        ) == ("Hm.", "Yes.", [])
        for skips in (True, False):
            plan = ask.plan(
                {"tool_calls": "qwen"}, {"tools": TOOLS}, skip_special_tokens=skips, **fields
            )
            shown = ask.read(plan, "Yes.", stop_token=end)
            assert shown == ("", "Yes." if skips else "Yes.<|im_end|>", []), (whole, skips, shown)
    assert ask.read(ask.plan({"tool_calls": "qwen"}, {"tools": TOOLS}), "Yes", stop_token=dot) == (
        "",
        "Yes",
        [],
    )


def a_stop_string_means_nothing_in_hidden_thinking(ask: Asking) -> None:
    text = "<think>\nuser wants a look.\n</think>\n\nI look\nat user."
    for whole in (False, True):
        for stop, content in (("user", "I look\nat "), ("\n", "I look"), ("I", ""), ("look", "I ")):
            plan = ask.plan(QWEN, {}, stops=[stop], whole=whole)
            thinking, shown, _ = ask.read(plan, text)
            assert (thinking.strip(), shown.strip("\n")) == ("user wants a look.", content), (
                stop,
                thinking,
                shown,
            )
            assert plan.reader.matched_stop == stop
    plan = ask.plan(QWEN, {"separate_reasoning": False}, stops=["user"])
    assert ask.read(plan, text) == ("", "<think>\n", [])
    plan = ask.plan(QWEN, {"chat_template_kwargs": {"enable_thinking": False}}, stops=["look"])
    assert ask.read(plan, "I look") == ("", "I ", [])


def a_moved_answer_is_searched_for_stops_where_it_goes_on(ask: Asking) -> None:
    shown, rest = "<think>\nA user.\n</think>\n\nHello, ", "dear user, hello"
    for cut in (shown, "<think>\nA user"):
        whole = shown + rest
        plan = ask.plan(QWEN, {}, stops=["user"])
        plan.reader.replay(ask.tokens(cut))
        assert ask.read(plan, whole.removeprefix(cut))[1].endswith("dear ")
        assert plan.reader.matched_stop == "user"


def nothing_of_the_thinking_comes_behind_the_answer(ask: Asking) -> None:
    for text in ("<think>\nHm.\n</think>\n\nYes.", f"<think>\nHm.\n\n</think>\n\n{TEXT}"):
        ends = []
        for whole in (False, True):
            parts = ask.parts(ask.plan(QWEN, {"tools": TOOLS}, whole=whole), text)
            thoughts = [at for at, part in enumerate(parts) if isinstance(part, Reasoning)]
            assert thoughts == list(range(len(thoughts))), parts
            ends.append(folded(parts)[0])
        assert [end.strip("\n") for end in ends] == ["Hm.", "Hm."]
        assert not any(end.endswith("\n") for end in ends)


def half_a_character_in_a_call_is_one_that_can_be_sent(ask: Asking) -> None:
    text = TEXT.replace("Zürich", "Z\\ud83d").replace("I will", "I would")
    for whole in (False, True):
        parts = ask.parts(ask.plan(QWEN, {"tools": TOOLS}, whole=whole), text)
        assert msgspec.msgpack.encode(parts)
        assert folded(parts)[2][0][2]["city"] == "Z\ufffd"


def a_forced_call_is_held_to_its_format(ask: Asking) -> None:
    for tool_choice in ("required", NAMED):
        plan = ask.plan({"tool_calls": "qwen"}, {"tools": TOOLS, "tool_choice": tool_choice})
        assert plan.grammar is not None
        assert plan.grammar[0] == "structural_tag"
        assert "get_weather" in plan.grammar[1]
        assert ask.read(plan, TEXT.partition("\n")[2])[2] == CALL


def a_forced_call_without_a_parser_is_json(ask: Asking) -> None:
    for whole in (False, True):
        plan = ask.plan({}, {"tools": TOOLS, "tool_choice": "required"}, whole=whole)
        assert plan.grammar is not None
        assert plan.grammar[0] == "json_schema"
        text = json.dumps(
            [{"name": name, "parameters": arguments} for name, arguments in CALLS],
            ensure_ascii=False,
        )
        assert ask.read(plan, text) == ("", "", CALLS)


def a_grammar_waits_for_the_thinking(ask: Asking) -> None:
    chat = {"tools": TOOLS, "tool_choice": "required"}
    assert ask.plan(QWEN, chat).require_reasoning
    assert not ask.plan(
        QWEN, {**chat, "chat_template_kwargs": {"enable_thinking": False}}
    ).require_reasoning
    assert ask.plan({"tool_calls": "glm47"}, chat).beside_grammar["ebnf_full_assistant"]


def ids_are_of_the_choice_and_the_call(ask: Asking) -> None:
    def call_ids(request_id: str, first: str = "") -> list[str]:
        plan = ask.plan(QWEN, {"tools": TOOLS}, request_id=request_id, first_request_id=first)
        two = TEXT + TEXT.partition(".")[2]
        return [call_id for call_id, _, _ in folded(ask.parts(plan, two))[2]]

    ids = call_ids("a" * 32)
    assert len({*ids, *call_ids("b" * 32)}) == 4
    assert call_ids("b" * 32, first="a" * 32) == ids
    assert all(len(call_id) == len("call_") + 24 for call_id in ids)


def kimi_numbers_its_calls(ask: Asking) -> None:
    text = (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.search:2"
        '<|tool_call_argument_begin|>{"query": "x"}<|tool_call_end|>'
    )
    plan = ask.plan({"tool_calls": "kimi_k2"}, {"tools": TOOLS}, calls_before=2)
    assert folded(ask.parts(plan, text))[2] == [("functions.search:2", "search", {"query": "x"})]


def a_failing_parser_costs_the_stream_and_not_the_answer(ask: Asking) -> None:
    plan = ask.plan(QWEN, {"tools": TOOLS})
    stream = plan.reader._message._stream
    taken = [stream.take("<think>Hm", last=False)]

    def fails(text: str, *, last: bool) -> Any:
        raise ValueError("never seen such a text")

    plan.reader._message._text.append("<think>Hm")
    stream.take = fails
    thinking, content, calls = folded(
        [*taken[0], *ask.parts(plan, THOUGHT.removeprefix("<think>Hm"))]
    )
    assert (thinking, content, [call[1:] for call in calls]) == ("Hm.", "I will look.", CALL)


UNKNOWN = '<tool_call>\n{"name": "nope", "arguments": {"city": "Rome"}}\n</tool_call>'
BROKEN = 'Well.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": \n</tool_call>'


def alike_for_all(
    asking: Asking, chat: dict[str, Any], text: str, reason: str = "stop", **fields: Any
) -> tuple[str, str, list[Any]]:
    """Content and calls (arguments as they are) of an answer, which must be the same streamed, as a
    whole, and at once.
    """
    parsers, ids = fields.pop("parsers", {"tool_calls": "qwen"}), asking.tokens(text)
    answers: list[Any] = []
    for whole, size in ((False, 1), (True, 1), (True, len(ids))):
        plan = asking.plan(parsers, {"tools": TOOLS, **chat}, whole=whole, **fields)
        parts = [
            part
            for at in range(0, len(ids), size)
            for part in plan.reader.feed(ids[at : at + size])
        ]
        if plan.reader.stopped_after_tokens is None:
            parts += plan.reader.end([], Finished(reason, 2, len(ids)))
        answers.append((folded(parts), plan.reader.stopped_after_tokens))
    assert answers[0] == answers[1] == answers[2], answers
    thinking, content, calls = answers[0][0]
    return thinking, content, [tuple(call[1:]) for call in calls]


def an_unknown_tool_is_called(ask: Asking) -> None:
    call = ("nope", {"city": "Rome"})
    assert alike_for_all(ask, {}, UNKNOWN) == ("", "", [call])
    assert alike_for_all(ask, {}, f"{UNKNOWN}\n{TEXT[13:]}") == ("", "", [call, CALLS[0]])


def a_malformed_call_keeps_its_text(ask: Asking) -> None:
    thinking, content, calls = alike_for_all(ask, {}, BROKEN)
    assert (thinking, content.strip()) == ("", "Well.")
    assert [(name, arguments.rstrip()) for name, arguments in calls] == [
        ("get_weather", '{"city":')
    ]
    nameless = '<tool_call>\n{"arguments": {"city": "Rome"}}\n</tool_call>'
    assert alike_for_all(ask, {}, nameless) == ("", nameless, [])


def a_call_that_is_not_closed_is_one(ask: Asking) -> None:
    assert alike_for_all(ask, {}, TEXT.removesuffix("\n</tool_call>")) == (
        "",
        "I will look.",
        [CALLS[0]],
    )


def a_call_that_is_cut_off_keeps_its_text(ask: Asking) -> None:
    assert (
        alike_for_all(ask, {}, TEXT[: TEXT.index("et_weather")], "length")[1]
        == TEXT[: TEXT.index("et_weather")]
    )
    cut = TEXT[: TEXT.index("rich")]
    assert alike_for_all(ask, {}, cut, "length") == (
        "",
        "I will look.",
        [("get_weather", '{"city": "Zü')],
    )
    assert alike_for_all(ask, {}, TEXT, stops=["rich"]) == (
        "",
        "I will look.",
        [("get_weather", '{"city": "Zü')],
    )


def a_forced_call_that_is_cut_off_keeps_its_text(ask: Asking) -> None:
    text = json.dumps([{"name": "get_weather", "parameters": CALLS[0][1]}], ensure_ascii=False)
    for tool_choice in ("required", NAMED):
        for parsers, cut in (
            ({}, text[: text.index("rich")]),
            ({"tool_calls": "qwen"}, TEXT[13 : TEXT.index("rich")]),
        ):
            assert alike_for_all(
                ask, {"tool_choice": tool_choice}, cut, "length", parsers=parsers
            ) == (
                "",
                "",
                [("get_weather", '{"city": "Zü')],
            )


def prose_is_content(ask: Asking) -> None:
    for text in (
        "Just text.",
        'See [1] and {"a": 1} < 2.\n',
        "<tool_call",
        "[get_weather(city='Rome')]",
    ):
        assert alike_for_all(ask, {}, text) == ("", text, [])
    assert alike_for_all(ask, {}, f"<think>Hm.</think>\n\n{TEXT}", parsers=QWEN) == (
        "Hm.",
        "\n\nI will look.",
        [CALLS[0]],
    )


def text_between_and_behind_calls_is_content(ask: Asking) -> None:
    call = TEXT[13:]
    thinking, content, calls = alike_for_all(ask, {}, f"One.\n{call}\nTwo.\n{call}\nThree.")
    assert (thinking, content.split(), calls) == ("", ["One.", "Two.", "Three."], [CALLS[0]] * 2)


def forced_calls_are_bound_to_little_white_space(ask: Asking) -> None:
    compiler = xgrammar.GrammarCompiler(
        xgrammar.TokenizerInfo.from_huggingface(ask._tokenizer), max_threads=1
    )
    anything = {
        "type": "function",
        "function": {"name": "get_weather", "parameters": {"type": "object"}, "strict": True},
    }
    for tool in (TOOLS[0], anything):
        plan = ask.plan({"tool_calls": "qwen"}, {"tools": [tool], "tool_choice": "required"})
        grammar = compiler.compile_structural_tag(plan.grammar[1])
        for space, allowed in (("", True), (" ", True), ("  ", False), ("\n" * 9, False)):
            call = (
                '<tool_call>\n{"name":"get_weather", '
                f'"arguments":{{{space}"city":{space}"Rome"}}}}\n</tool_call>'
            )
            assert xgrammar.GrammarMatcher(grammar).accept_string(call) is allowed, (tool, space)


def what_is_wrong_is_named(ask: Asking) -> None:
    other = {"type": "function", "function": {"name": "other"}}
    broken = [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "no such type"}}}
    ]
    for param, chat in (
        ("tool_choice", {"tools": TOOLS, "tool_choice": other}),
        ("tool_choice", {"tool_choice": "required"}),
        ("tools", {"tools": broken}),
        ("tools", {"tools": [{"type": "function"}]}),
        ("parallel_tool_calls", {"tools": TOOLS, "parallel_tool_calls": "perhaps"}),
        ("chat_template_kwargs", {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}),
    ):
        with pytest.raises(InvalidRequest) as refusal:
            ask.plan(QWEN, chat)
        assert refusal.value.param == param, refusal.value.message


def a_pattern_ends_the_answer_and_not_the_thinking(ask: Asking) -> None:
    plan = ask.plan(QWEN, {"tools": TOOLS}, stop_regex=["H.|lo{2}k"])
    thinking, content, calls = ask.read(plan, THOUGHT)
    assert (thinking, content.rstrip("."), calls) == ("Hm.", "I will look", [])
    assert plan.reader.matched_stop == "H.|lo{2}k"


def choices_share_what_sglang_made_of_their_chat(ask: Asking) -> None:
    readings = World(ask._tokenizer, ask._server_args, **QWEN)._readings
    reading = Reading(json.dumps({"model": "m", "tools": TOOLS}).encode())
    first, second, other = (
        readings.plan(
            Generate(
                letter * 32,
                "m",
                pack_tokens(prompt),
                Sampling(100),
                4_000_000_000_000,
                reading=reading,
            )
        )
        for letter, prompt in (("a", [1, 2]), ("b", [1, 2]), ("c", [1]))
    )
    assert first.prepared is second.prepared
    assert first.prepared is not other.prepared
    assert first.reader is not second.reader
    del first, second, other
    assert not readings._known


def text_without_calls_is_streamed(ask: Asking) -> None:
    parts = ask.parts(
        ask.plan({"tool_calls": "qwen"}, {"tools": TOOLS}), "Just text. Nothing else."
    )
    assert len(parts) > 1
    assert all(isinstance(part, Content) for part in parts)


def an_answer_of_a_response_format_may_be_a_call(ask: Asking) -> None:
    schema = (
        '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],'
        '"additionalProperties":false}'
    )
    grammar = Grammar("json_schema", schema, field="response_format")
    plan = ask.plan({"tool_calls": "qwen"}, {"tools": TOOLS}, grammar=grammar)
    assert plan.grammar[0] == "structural_tag"
    compiled = xgrammar.Grammar.from_structural_tag(plan.grammar[1])
    call = '<tool_call>\n{"name":"get_weather", "arguments":{"city": "Rome"}}\n</tool_call>'
    for text, fits in (
        ('{"a": 1}', True),
        (call, True),
        (f"{call}\n{call}", True),
        ('{"a": "x"}', False),
        ("text", False),
        (f"{call} text", False),
        ('{"a":  1}', False),
        (call.replace("get_weather", "nothing"), False),
        (call.replace('{"city": "Rome"}', '": {"'), False),
    ):
        assert _is_grammar_accept_string(compiled, text) == fits, text
    assert ask.read(plan, call) == ("", "", [("get_weather", {"city": "Rome"})])
    assert ask.read(
        ask.plan({"tool_calls": "qwen"}, {"tools": TOOLS}, grammar=grammar), '{"a": 1}'
    ) == ("", '{"a": 1}', [])
    one = ask.plan(
        {"tool_calls": "qwen"}, {"tools": TOOLS, "parallel_tool_calls": False}, grammar=grammar
    )
    assert not _is_grammar_accept_string(
        xgrammar.Grammar.from_structural_tag(one.grammar[1]), f"{call}\n{call}"
    )


def where_calls_are_json_too_an_answer_of_a_response_format_is_none(ask: Asking) -> None:
    plan = ask.plan(
        {"tool_calls": "pythonic"},
        {"tools": TOOLS},
        grammar=Grammar("json_schema", "{}", field="response_format"),
    )
    assert plan.grammar is None
    assert ask.read(plan, '[{"name": "get_weather"}]') == ("", '[{"name": "get_weather"}]', [])


CHECKS: list[Callable[[Asking], None]] = [
    value
    for value in list(globals().values())
    if callable(value) and getattr(value, "__annotations__", {}).get("ask") is Asking
]


def main() -> None:
    import sglang.srt.runtime_context as sglang_context  # noqa: PLC0415 - after read_recordings has prepared it

    logging.disable(logging.CRITICAL)
    server_args = parse_server_args(
        ["--model-path", str(demo_model_dir())], cpu=True, kv_events=False
    )
    sglang_context.publish(server_args, role="tokenizer")
    ask = Asking(AutoTokenizer.from_pretrained(demo_model_dir()), server_args)
    failures: dict[str, str | None] = {}
    for check in CHECKS:
        try:
            failures[check.__name__] = check(ask)
        except Exception as error:  # noqa: BLE001 - a check's failure is its result
            failures[check.__name__] = f"{type(error).__name__}: {error}"[:1500]
    json.dump(failures, sys.stdout)


if __name__ == "__main__":
    main()
