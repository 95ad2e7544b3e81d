"""Texts that cannot fit are refused before anything is encoded."""

from typing import Any, cast

import pytest

from frontend.api.prompts.encoding import CHARS_PER_TOKEN_MAX, encode_prompt
from frontend.models.served import ServedModel
from protocol.errors import ContextOverflow
from protocol.membership import ModelCard


class Encodes:
    """A tokenizer that remembers what it was asked."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    async def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> bytes:
        self.lengths.append(len(text))
        return b"\0\0\0\0"


async def test_text_that_cannot_fit_is_never_encoded_and_the_numbers_are_told(
    card: ModelCard,
) -> None:
    tokenizer = Encodes()
    served = ServedModel(card, cast("Any", tokenizer), {})
    most = card.context_length * CHARS_PER_TOKEN_MAX
    assert (
        await encode_prompt(served, "x" * most, add_special_tokens=True, param="prompt")
        == b"\0\0\0\0"
    )
    with pytest.raises(ContextOverflow) as raised:
        await encode_prompt(served, "x" * (most + 1), add_special_tokens=True, param="prompt")
    assert tokenizer.lengths == [most]
    assert raised.value.param == "prompt"
    assert f"context length is {card.context_length} tokens" in raised.value.message
    assert f"at least {card.context_length + 1} tokens" in raised.value.message
