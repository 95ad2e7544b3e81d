"""Grammars that end xgrammar, hold it up for minutes or allow nothing, against the guard: each has
a verdict, and so has the next one.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import pytest_asyncio

from protocol.errors import InvalidRequest, Overloaded
from protocol.generation import Grammar
from protocol.limits import GRAMMAR_BYTES_MAX
from workers.sglang.grammars.guard import TRIALS_MAX, GrammarGuard, Lane

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
]

SLOW_CPU_S = 1.0
"""Less than users have: what is too slow takes all of it, and with minutes none would be less so.
tests/fleet/test_structured_output_real_sglang.py waits for one as long as a user does.
"""

VOCABULARY = [bytes([byte]) for byte in range(256)] + [b"ab", b'{"', b'":', b"true", b"</s>"]

SERIALIZED = f"""
from xgrammar import TokenizerInfo, VocabType
last = {len(VOCABULARY) - 1}
print(TokenizerInfo({VOCABULARY!r}, VocabType.RAW, stop_token_ids=[last]).serialize_json())
"""
"""A program, since xgrammar imports torch, of which pytest's process does not end well."""


def _json(schema: Any) -> tuple[str, str]:
    return "json_schema", json.dumps(schema)


def _rules(count: int, text: str) -> tuple[str, str]:
    return "ebnf", "root ::= r0\n" + "\n".join(
        text.format(this=n, next=n + 1) for n in range(count)
    ) + f'\nr{count} ::= "a"'


FINE = {
    "object": _json(
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"enum": ["é", 1]}},
            "required": ["a"],
        }
    ),
    "recursive": _json(
        {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}
    ),
    "a thousand choices": ("regex", "(" + "|".join(f"choice {n}" for n in range(1_000)) + ")"),
    "a million items": _json({"type": "array", "items": {"type": "string"}, "minItems": 10**6}),
    "a billion characters": _json({"type": "string", "maxLength": 10**9}),
    "nested repetition": ("regex", "(((a{1,1000}){1,1000}){1,1000}){1,1000}"),
    "backtracking": ("regex", "(a+)+(a|aa)*b"),
    "left recursion": ("ebnf", 'root ::= root "a" | "b"'),
    "ambiguity": ("ebnf", 'root ::= root root root | root root | "a" | ""'),
    "doubling": _rules(40, "r{this} ::= r{next} r{next}"),
    "references that double": _json(
        {
            "$defs": {f"n{n}": {"allOf": [{"$ref": f"#/$defs/n{n + 1}"}] * 2} for n in range(30)}
            | {"n30": {}}
        }
    ),
    "structural tag": (
        "structural_tag",
        '{"type":"structural_tag","format":{"type":"regex","pattern":"a+"}}',
    ),
    "older structural tag": (
        "structural_tag",
        '{"structures":[{"begin":"<f>","schema":{},"end":"</f>"}],"triggers":["<f"]}',
    ),
}
REFUSED = {
    "deep": ("json_schema", '{"items":' * 20_000 + "{}" + "}" * 20_000),
    "many optional letters": ("regex", "a?" * 4_000 + "a" * 4_000),
    "a class of thousands": (
        "regex",
        "[" + "".join(map(chr, range(0x4E00, 0x9C00, 2))) + "]{1,1000}",
    ),
    "parentheses": ("regex", "(" * 100_000 + "a" + ")" * 100_000),
    "parentheses in a grammar": ("ebnf", "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000),
    "too many properties": _json(
        {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(6_000)}}
    ),
    "itself": _json({"$ref": "#"}),
    "each other": _json(
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    ),
    "nothing but itself": ("ebnf", "root ::= root"),
    "a reference to nowhere": _json({"$ref": "#/$defs/none"}),
    "a negative count": _json({"type": "array", "maxItems": -1}),
    "an enormous count": _json({"type": "array", "maxItems": 2**80}),
    "contradiction": _json({"type": "string", "minLength": 9, "maxLength": 3}),
    "no such type": _json({"type": "thing"}),
    "false": _json(False),
    "an empty enum": _json({"enum": []}),
    "a lone surrogate": ("json_schema", '{"const":"\\ud800"}'),
    "a bad pattern": _json({"type": "string", "pattern": "("}),
    "an open parenthesis": ("regex", "("),
    "two stars": ("regex", "a**"),
    "a look-ahead": ("regex", "(?=a)b"),
    "a backreference": ("regex", r"(a)\1"),
    "an escape of nothing": ("regex", "\\"),
    "an enormous repetition": ("regex", "a{99999999999999999999}"),
    "no grammar": ("ebnf", "root := x"),
    "no root": ("ebnf", 'other ::= "x"'),
    "an undefined rule": ("ebnf", "root ::= other"),
    "an open string": ("ebnf", 'root ::= "a'),
    "an empty tag": ("structural_tag", "{}"),
    "a tag of no kind": ("structural_tag", '{"format":{"type":"none"}}'),
    "an older tag without its parts": (
        "structural_tag",
        '{"structures":[{"begin":5}],"triggers":["<f"]}',
    ),
    "a tag with a bad grammar": (
        "structural_tag",
        '{"format":{"type":"grammar","grammar":"root ::= other"}}',
    ),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def guard(python: Callable[..., Any]) -> AsyncIterator[GrammarGuard]:
    serialized = python("-c", SERIALIZED)
    assert serialized.returncode == 0, serialized.stderr
    info = SimpleNamespace(serialize_json=serialized.stdout.strip)
    whitespace = {
        "constrained_json_disable_any_whitespace": True,
        "constrained_json_max_whitespace_cnt": None,
    }
    guard = GrammarGuard(
        SimpleNamespace(
            tokenizer=SimpleNamespace(init_xgrammar=lambda: (info, None)),
            model_config=SimpleNamespace(vocab_size=len(VOCABULARY), hf_eos_token_id=None),
            server_args=SimpleNamespace(grammar_backend=None, **whitespace),
        )
    )
    guard._slow = Lane(SLOW_CPU_S, at_once=1, inside_max=1)
    yield guard
    guard.close()
    await guard.ended()


@pytest.mark.parametrize("name", FINE)
async def test_what_an_engine_can_do_is_let_through(guard: GrammarGuard, name: str) -> None:
    kind, text = FINE[name]
    await guard.check(Grammar(kind, text, field="field"))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", REFUSED)
async def test_what_it_cannot_is_refused_with_the_reason(guard: GrammarGuard, name: str) -> None:
    kind, text = REFUSED[name]
    grammar = Grammar(kind, text, field="the.field")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidRequest, match=r"^the\.field cannot be used: .+\.$") as raised:
        await guard.check(grammar)
    assert raised.value.param == "the.field"
    assert ".cc" not in raised.value.message
    await guard.check(Grammar("regex", f"after {len(name)}"))


async def test_what_is_longer_than_the_wire_allows_is_refused(guard: GrammarGuard) -> None:
    with pytest.raises(InvalidRequest, match="more than"):
        await guard.check(Grammar("regex", "a" * (GRAMMAR_BYTES_MAX + 1), field="tools"))


async def test_a_nul_that_ends_xgrammar_ends_only_its_trial(guard: GrammarGuard) -> None:
    with pytest.raises(InvalidRequest):
        await guard.check(Grammar("regex", "a\0", field="regex"))
    await guard.check(Grammar("regex", "b"))


async def test_many_at_once_share_one_trial_and_too_many_are_refused(guard: GrammarGuard) -> None:
    same = [guard.check(Grammar("regex", "same")) for _ in range(200)]
    others = [guard.check(Grammar("regex", f"other {n}")) for n in range(TRIALS_MAX)]
    results = await asyncio.gather(*same, *others, return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert [type(result) for result in refused] == [Overloaded]


async def test_slow_ones_hold_up_no_others_and_are_forgotten_when_nobody_waits(
    guard: GrammarGuard,
) -> None:
    await guard.check(Grammar("regex", "first"))
    slow = {
        asyncio.create_task(
            guard.check(Grammar("regex", f"{n}" + "x?" * 4_000 + "x" * 4_000, field="regex"))
        )
        for n in range(5)
    }
    refused = None
    while not isinstance(refused, Overloaded):
        done, slow = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
        refused = next(
            (task.exception() for task in done if isinstance(task.exception(), Overloaded)), None
        )
    assert refused.param == "regex"
    await guard.check(Grammar("regex", "another user's"))
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    await asyncio.sleep(0)
    assert len(guard._trials) <= 2  # those that run
    await guard.check(Grammar("regex", "and one more"))


async def test_a_killed_process_is_replaced(guard: GrammarGuard) -> None:
    await guard.check(Grammar("regex", "before"))
    (process,) = [
        child
        for child in psutil.Process().children()
        if "workers.sglang.grammars.trial" in child.cmdline()
    ]
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait, 30)
    await guard.check(Grammar("regex", "behind"))
