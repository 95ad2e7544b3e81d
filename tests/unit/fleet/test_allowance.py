"""A worker sends what was asked for and no more."""

from typing import Any

import pytest

from frontend.fleet.allowance import EXTRA_BYTES, TEXT_CHARS_PER_TOKEN, Allowance
from protocol.embedding import Embed, Embedded
from protocol.encoding import Encode, Encoded
from protocol.generation import (
    Content,
    Extras,
    Finished,
    Generate,
    Logprobs,
    LogprobsWanted,
    Reading,
    Sampling,
    ToolCall,
)
from protocol.replies import Delta, Failed
from protocol.tokens import pack_tokens

ID = "1" * 32


def generate(tokens: int = 4, **fields: Any) -> Generate:
    return Generate(ID, "m", pack_tokens([1, 2, 3]), Sampling(tokens), 1, **fields)


def exceeded(
    request: Generate | Embed | Encode, tokens: int = 0, end: Any = None, **extras: Any
) -> bool:
    return Allowance(request).exceeded(
        Delta(ID, 0, b"", end, Extras(**extras) if extras else None), tokens
    )


@pytest.mark.parametrize(
    ("asked", "received", "too_many"), [(4, 4, False), (4, 5, True), (0, 1, False), (0, 2, True)]
)
def test_tokens_are_as_many_as_were_asked_for(asked: int, received: int, too_many: bool) -> None:
    assert exceeded(generate(asked), received) is too_many


def test_an_answer_is_of_the_kind_that_was_asked_for() -> None:
    text = Embed(ID, "m", b"", 1)
    vector, finished, failed = Embedded(b"", 1), Finished("stop", 1, 1), Failed("x", "y")
    assert [exceeded(generate(), end=end) for end in (vector, finished, failed)] == [
        True,
        False,
        False,
    ]
    assert not any(exceeded(text, end=end) for end in (vector, finished, failed))
    assert exceeded(text, 1)
    assert exceeded(text, end=(encoded := Encoded(1)))
    pictures = Encode(ID, "m", [], 1)
    assert [exceeded(pictures, end=end) for end in (encoded, vector, finished, failed)] == [
        False,
        True,
        True,
        False,
    ]


def test_text_goes_with_the_tokens_whoever_reads_it() -> None:
    long = "x" * (EXTRA_BYTES + 2 * TEXT_CHARS_PER_TOKEN)
    read = generate(reading=Reading())
    assert not exceeded(read, 2, parts=[Content(long)])
    assert exceeded(read, 1, parts=[Content(long)])
    assert exceeded(read, 2, parts=[ToolCall(0, arguments=long, name="f")])
    assert exceeded(read, 0, parts=[Content("")] * EXTRA_BYTES)
    assert exceeded(generate(), 4, parts=[Content(long)])


def test_log_probabilities_are_those_of_the_tokens_and_as_many_as_were_asked_for() -> None:
    def scores(tokens: int, top: int) -> Logprobs:
        return Logprobs(bytes(4 * tokens), top, bytes(4 * tokens * top), bytes(4 * tokens * top))

    wanted = generate(10**6, logprobs=LogprobsWanted(top=2, of_prompt=True))
    assert not exceeded(wanted, 50_000, logprobs=scores(50_000, 2), prompt_logprobs=scores(3, 2))
    assert exceeded(wanted, 10_000, logprobs=scores(50_000, 2))
    assert exceeded(generate(10**6), 50_000, logprobs=scores(50_000, 2))


def test_what_comes_bit_by_bit_counts_together() -> None:
    allowance, delta = (
        Allowance(generate()),
        Delta(ID, 0, b"", None, Extras(parts=[Content("x" * EXTRA_BYTES)])),
    )
    assert [allowance.exceeded(delta, 1), allowance.exceeded(delta, 2)] == [False, True]
