"""What is told of tokens: their bytes, their offsets, and nothing twice or too much, however they
came.
"""

import itertools
import struct
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from frontend.api.answers.logprobs import (
    CompletionLogprobs,
    TokenTexts,
    chat_logprobs,
    joined,
    logprobs_wanted,
    scores,
)
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.inflight.choice import Choice
from frontend.models.served import ServedModel
from frontend.routing.route import RouteRequest
from frontend.text.output.choice_text import ChoiceText, OutputRules
from frontend.text.output.gain import Answer
from protocol.generation import Extras, Finished, Generate, Logprobs, LogprobsWanted, Sampling
from protocol.replies import Delta
from protocol.text.detokenizer import Detokenizing
from protocol.text.pieces import PieceTable
from protocol.tokens import pack_tokens
from tests.unit.api.placed_choice import placed_stream

PIECES = [b"<s>", b"He", b"llo", b" \xf0\x9f", b"\xa6\x9c", b"!", b"a", b"b", b"ab", b"\xe9"]
BOS, HE, LLO, HALF, OTHER_HALF, BANG, A, B, AB, BAD = range(10)
TABLE = PieceTable(
    "byte_level", b"".join(PIECES), struct.pack(f"<{len(PIECES)}I", *map(len, PIECES)), [BOS]
)
DETOKENIZING = Detokenizing(TABLE, lambda _ids, _skip: "")
NAN = float("nan")


class Served:
    """As much of a model as log probabilities need."""

    token_bytes = staticmethod(DETOKENIZING.token_bytes)
    new_detokenizer = staticmethod(DETOKENIZING.new)


SERVED = cast("ServedModel", Served())
TEXTS = TokenTexts(SERVED, as_ids=False)


def scored(values: Sequence[float], tops: Sequence[Sequence[tuple[int, float]]] = ()) -> Logprobs:
    """As a worker sends them."""
    top = len(tops[0]) if tops else 0
    ids = [id_ for row in tops for id_, _ in row]
    return Logprobs(
        array("f", values).tobytes(),
        top,
        pack_tokens(ids),
        array("f", [value for row in tops for _, value in row]).tobytes(),
    )


def told_by(ids: Sequence[int], part: Logprobs) -> dict[str, Any]:
    return CompletionLogprobs(TEXTS, SERVED, skip_special_tokens=True).told(
        [(pack_tokens(ids), [part])]
    )


def test_chat_tells_bytes_and_a_stand_in_for_half_a_character() -> None:
    part = scored([-0.5, -1.0], [[(HALF, -0.5), (HE, -2.0)], [(OTHER_HALF, -1.0), (A, -3.0)]])
    first, second = chat_logprobs(TEXTS, [(pack_tokens([HALF, OTHER_HALF]), [part])])["content"]
    assert (first["token"], first["bytes"], first["logprob"]) == (" \ufffd", [32, 0xF0, 0x9F], -0.5)
    assert second["bytes"] == [0xA6, 0x9C]
    assert [(other["token"], other["logprob"]) for other in first["top_logprobs"]] == [
        (" \ufffd", -0.5),
        ("He", -2.0),
    ]
    assert bytes(first["bytes"] + second["bytes"]).decode() == " 🦜"


def test_completions_tell_where_each_token_begins_in_the_text() -> None:
    told = told_by([BOS, HE, LLO, HALF, OTHER_HALF, BANG], scored([NAN, -1, -2, -3, -4, -5]))
    assert told["tokens"] == ["<s>", "He", "llo", " \ufffd", "\ufffd\ufffd", "!"]
    assert told["text_offset"] == [0, 0, 2, 5, 6, 7]  # "Hello 🦜!"; a special token takes no room
    assert told["token_logprobs"] == [None, -1, -2, -3, -4, -5]
    assert told["top_logprobs"][0] is None


def _char_of_byte(text: bytes) -> list[int]:
    """The character of the text, as it reads with replacements, that each byte is part of."""
    chars: list[int] = []
    while len(chars) < len(text):
        start = len(chars)
        sizes = [
            size
            for size in (1, 2, 3, 4)
            if text[start : start + size].decode(errors="replace")[1:] == ""
        ]
        whole = [
            size
            for size in sizes
            if "\ufffd" not in text[start : start + size].decode(errors="replace")
        ]
        size = min(whole or [max(sizes)])
        chars += [chars[-1] + 1 if chars else 0] * min(size, len(text) - start)
    return chars


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(HE, BAD), min_size=1, max_size=12))
def test_an_offset_is_that_of_the_character_that_the_token_begins_in(ids: list[int]) -> None:
    chars = _char_of_byte(b"".join(PIECES[id_] for id_ in ids))
    starts = itertools.accumulate((len(PIECES[id_]) for id_ in ids[:-1]), initial=0)
    assert told_by(ids, scored([-1.0] * len(ids)))["text_offset"] == [
        chars[start] for start in starts
    ]


def test_the_chosen_token_is_among_the_likeliest_and_twins_in_text_show_the_likelier() -> None:
    told = told_by(
        [A, BAD],
        scored([-4.0, -2.0], [[(B, -0.5), (AB, -1.5)], [(OTHER_HALF, -0.25), (BAD, -2.0)]]),
    )
    assert told["top_logprobs"] == [
        {"b": -0.5, "ab": -1.5, "a": -4.0},
        {"\ufffd\ufffd": -0.25, "\ufffd": -2.0},
    ]


def test_output_is_counted_behind_the_echo() -> None:
    writer = CompletionLogprobs(TEXTS, SERVED, skip_special_tokens=True)
    prompt = writer.echoed("Hello", pack_tokens([HE, LLO]), scored([NAN, -1]))
    both = joined(prompt, writer.told([(pack_tokens([A, B]), [scored([-1, -2])])]))
    assert both["text_offset"] == [0, 2, 5, 6]
    assert both["tokens"] == ["He", "llo", "a", "b"]


def test_minus_infinity_is_a_number_in_json() -> None:
    [score] = scores(pack_tokens([A]), [scored([float("-inf")], [[(B, float("-inf"))]])])
    assert (score.logprob, score.top) == (-9999.0, [(B, -9999.0)])


def test_a_token_may_be_told_by_its_id() -> None:
    assert TokenTexts(SERVED, as_ids=True).text(AB) == f"token_id:{AB}"


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (CompletionRequest(model="m", prompt="x"), None),
        (CompletionRequest(model="m", prompt="x", logprobs=0), LogprobsWanted(0)),
        (
            CompletionRequest(model="m", prompt="x", logprobs=5, echo=True),
            LogprobsWanted(5, of_prompt=True),
        ),
        (
            ChatCompletionRequest(model="m", messages=[{}], logprobs=True, top_logprobs=20),
            LogprobsWanted(20),
        ),
        (ChatCompletionRequest(model="m", messages=[{}], logprobs=False), None),
    ],
)
def test_what_is_asked_of_the_engine(request_: Any, wanted: LogprobsWanted | None) -> None:
    assert logprobs_wanted(request_) == wanted


def deltas(
    ids: Sequence[int], cuts: Sequence[int], first: int, end: Finished | None
) -> list[Delta]:
    """The tokens in deltas cut at `cuts`, each scored with its position in the whole output; the
    first of them is at `first`.
    """
    bounds = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    made = [
        Delta(
            "r",
            start,
            pack_tokens(ids[start:stop]),
            None,
            Extras(logprobs=scored([-float(first + at) for at in range(start, stop)])),
        )
        for start, stop in pairwise(bounds)
    ] or [Delta("r", 0, b"")]
    return [*made[:-1], replace(made[-1], end=end)]


@settings(max_examples=300, deadline=None)
@given(
    ids=st.lists(st.sampled_from([HE, LLO, A, B, AB]), min_size=1, max_size=12),
    cuts=st.lists(st.integers(1, 12), max_size=6),
    moved_at=st.none() | st.integers(0, 12),
    stops=st.sampled_from([(), ("b",), ("ab",), ("ba", "llo")]),
    stop_token=st.booleans(),
    turns=st.lists(st.booleans(), min_size=16, max_size=16),
)
def test_each_token_is_told_once_however_it_came(
    ids: list[int],
    cuts: list[int],
    moved_at: int | None,
    stops: tuple[str, ...],
    stop_token: bool,
    turns: list[bool],
) -> None:
    """Deltas are cut, and merged as the handler comes to take them; the worker may be lost on the
    way.
    """
    rules = OutputRules(stops=stops)
    text = ChoiceText(DETOKENIZING.new(skip_special_tokens=True), rules)
    request = Generate(
        "r" * 32, "m", pack_tokens([HE]), Sampling(max_new_tokens=99), 0, logprobs=LogprobsWanted()
    )
    choice, answer = (
        Choice(0, request, RouteRequest(request.token_ids), placed_stream(), text, rules=rules),
        Answer(),
    )
    output = [*ids, BANG] if stop_token else ids
    at = None if moved_at is None else min(moved_at, len(ids))  # a stop token comes with its end

    def play(leg: Sequence[int], first: int, end: Finished | None) -> None:
        for delta, waits in zip(deltas(leg, cuts, first, end), turns, strict=False):
            choice.stream.push(delta)
            if not waits and choice.finish_reason is None:
                answer.add(choice.advance())
        if choice.finish_reason is None:
            answer.add(choice.advance())

    if at is not None:
        play(output[:at], 0, None)
        if choice.finish_reason is None:
            choice.trail.output += choice.take_leg()
            choice.stream = placed_stream()
    if choice.finish_reason is None:
        rest = output[at or 0 :]
        play(
            rest,
            at or 0,
            Finished(
                "stop" if stop_token else "length",
                1,
                len(rest),
                matched_token_id=BANG if stop_token else None,
            ),
        )

    stopped = text.stopped_after_tokens
    expected = output[:stopped]
    told = [
        (score.token_id, score.logprob)
        for packed, parts in answer.scored
        for score in scores(packed, parts)
    ]
    assert told == [(token_id, -float(position)) for position, token_id in enumerate(expected)]
    assert stopped is None or choice.completion_tokens == stopped


def test_nothing_is_shown_where_only_the_prompt_was_asked_about() -> None:
    rules = OutputRules(shows_nothing=True)
    request = Generate(
        "r" * 32,
        "m",
        pack_tokens([HE]),
        Sampling(max_new_tokens=1),
        0,
        logprobs=LogprobsWanted(of_prompt=True),
    )
    text = ChoiceText(DETOKENIZING.new(skip_special_tokens=True), rules)
    choice = Choice(0, request, RouteRequest(request.token_ids), placed_stream(), text, rules=rules)
    extras = Extras(logprobs=scored([-1]), prompt_logprobs=scored([NAN]))
    choice.stream.push(
        Delta("r", 0, pack_tokens([A]), Finished("stop", 1, 1, matched_token_id=A), extras)
    )
    gain = choice.advance()
    assert (gain.text, gain.token_ids, choice.finish_reason, choice.completion_tokens) == (
        "",
        b"",
        "length",
        0,
    )
    assert gain.prompt_logprobs is not None
