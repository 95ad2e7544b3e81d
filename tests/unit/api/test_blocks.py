"""Blocks of an answer, and Anthropic's events made of them."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from frontend.api.answers.blocks import BlockSequence, Closed, Grown, Opened, blocks_of
from frontend.api.anthropic.answers import MessageWriter
from frontend.text.output.gain import Gain
from protocol.generation import ToolCall

ARGUMENTS = '{"city": "Bern"}'


def answer_in_pieces(thoughts: str, text: str, calls: int, sizes: list[int]) -> list[Gain]:
    """The same answer in gains of the given numbers of characters."""
    letters = [("reasoning", char) for char in thoughts] + [("text", char) for char in text]
    gains: list[Gain] = []
    while letters:
        size = sizes[len(gains) % len(sizes)]
        taken, letters = letters[:size], letters[size:]
        of = {
            kind: "".join(char for each, char in taken if each == kind)
            for kind in ("reasoning", "text")
        }
        gains.append(Gain(text=of["text"], reasoning=of["reasoning"]))
    for index in range(calls):
        gains.append(Gain(calls=[ToolCall(index, f"call_{index}", "weather", ARGUMENTS[:5])]))
        gains.append(Gain(calls=[ToolCall(index, arguments=ARGUMENTS[5:])]))
    return gains


@given(
    st.text(max_size=20),
    st.text(max_size=20),
    st.integers(0, 3),
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
def test_blocks_do_not_depend_on_how_the_answer_was_cut(
    thoughts: str, text: str, calls: int, sizes: list[int]
) -> None:
    sequence = BlockSequence()
    moves = [
        move
        for gain in answer_in_pieces(thoughts, text, calls, sizes)
        for move in sequence.take(gain)
    ]
    moves += list(sequence.end())
    whole = blocks_of(
        thoughts,
        text,
        [ToolCall(index, f"call_{index}", "weather", ARGUMENTS) for index in range(calls)],
    )
    assert [(block.kind, block.text) for block in sequence.blocks] == [
        (block.kind, block.text) for block in whole
    ]
    assert [move.block.index for move in moves if isinstance(move, Opened)] == list(
        range(len(whole))
    )
    open_index = None
    for move in moves:
        if isinstance(move, Opened):
            assert open_index is None
            open_index = move.block.index
        elif isinstance(move, Grown):
            assert open_index == move.block.index
        else:
            assert isinstance(move, Closed)
            assert open_index == move.block.index
            open_index = None
    assert open_index is None


def test_white_space_that_comes_late_is_no_thinking() -> None:
    sequence = BlockSequence()
    moves = [
        move
        for gain in (Gain(reasoning="Hm."), Gain(text="Well."), Gain(reasoning="\n"))
        for move in sequence.take(gain)
    ]
    assert [type(move) for move in [*moves, *sequence.end()]] == [
        Opened,
        Grown,
        Closed,
        Opened,
        Grown,
        Closed,
    ]
    assert [(block.kind, block.text) for block in sequence.blocks] == [
        ("reasoning", "Hm."),
        ("text", "Well."),
    ]
    (block,) = blocks_of("Hm. Hm.\n\n", "", [])
    assert block.text == "Hm. Hm."


def events_of(sent: bytes) -> list[dict[str, Any]]:
    """The events, whose names must be their types."""
    told: list[dict[str, Any]] = []
    for event in sent.decode().split("\n\n")[:-1]:
        name, data = event.split("\n")
        told.append(json.loads(data.removeprefix("data: ")))
        assert name == "event: " + told[-1]["type"]
    return told


def test_thinking_text_and_a_call_become_three_blocks_of_anthropics() -> None:
    writer = MessageWriter("msg_1", "m", thoughts_shown=True, max_tokens=9, manages_context=False)
    sent = b"".join(writer.gained(gain) for gain in answer_in_pieces("Hm.", "Well.", 1, [100]))
    events = events_of(sent)
    assert [
        event["content_block"]["type"] for event in events if event["type"] == "content_block_start"
    ] == [
        "thinking",
        "text",
        "tool_use",
    ]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert deltas[0] == {"type": "thinking_delta", "thinking": "Hm."}
    assert deltas[1] == {"type": "text_delta", "text": "Well."}
    assert "".join(delta["partial_json"] for delta in deltas[2:]) == ARGUMENTS
    call = next(event["content_block"] for event in events if event.get("index") == 2)
    assert call == {"type": "tool_use", "id": "toolu_call_0", "name": "weather", "input": {}}


def test_thinking_that_is_not_to_be_shown_leaves_an_empty_block() -> None:
    writer = MessageWriter("msg_1", "m", thoughts_shown=False, max_tokens=9, manages_context=False)
    events = events_of(
        b"".join(writer.gained(gain) for gain in answer_in_pieces("Hm.", "Well.", 0, [100]))
    )
    assert [event["type"] for event in events[:2]] == ["content_block_start", "content_block_stop"]
    assert "Hm." not in json.dumps(events)
