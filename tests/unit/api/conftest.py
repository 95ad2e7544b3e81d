"""A model of a hundred tokens."""

import pytest

from protocol.membership import ModelCard


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
