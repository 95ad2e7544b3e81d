"""A stream put together again, choice by choice."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Told:
    """What the chunks of one choice said."""

    text: str = ""
    roles: list[str] = field(default_factory=list[str])
    reasons: list[str] = field(default_factory=list[str])
    scored: int = 0
    """Tokens that came with log probabilities."""


def told_of(chunks: Iterable[Any]) -> tuple[dict[int, Told], list[Any]]:
    """Index → choice, of chats and completions, and every usage that was told."""
    choices: dict[int, Told] = {}
    usages: list[Any] = []
    for chunk in chunks:
        if chunk.usage is not None:
            usages.append(chunk.usage)
        for choice in chunk.choices:
            told = choices.setdefault(choice.index, Told())
            delta = getattr(choice, "delta", None)
            told.text += (choice.text if delta is None else delta.content) or ""
            if delta is not None and delta.role:
                told.roles.append(delta.role)
            if choice.finish_reason:
                told.reasons.append(choice.finish_reason)
            if choice.logprobs is not None:
                told.scored += len(
                    choice.logprobs.content if delta is not None else choice.logprobs.tokens
                )
    return choices, usages
