"""Prompts of a wanted length in tokens, no two alike, for whatever tokenizer the server has."""

from dataclasses import dataclass
from random import Random
from typing import Final

_TEXT: Final = (
    "able above acid across action admit adult after again agree air almost alone among animal "
    "answer apple area arm army art ask atom autumn back ball bank basic bear beat bed begin bell "
    "best bird black blood blue board boat body bone book born both bottle bottom box boy branch "
    "bread break bridge bright bring brother brown build burn busy button call camp card care "
    "carry case cause cell center chair chance change chart check chest child choose church "
    "circle city claim class clean clear climb clock close cloth cloud coast coat cold collect "
    "color common company complete condition consider contain control cook cool copper copy corn "
    "corner cost cotton count country course cover cow create crop cross crowd cry current cut "
    "dance danger dark day dead deal death decide deep degree design desert develop differ "
    "dinner direct discuss distance divide doctor dog door double doubt down dream dress drink "
    "drive drop dry duck during dust early earth east easy edge effect egg eight either electric "
    "energy engine enough enter equal evening event exact example exercise expect eye face fact "
    "fall family famous farm fast father fear feed field fight figure fill final find finger "
    "finish fire first fish five flag floor flow flower follow food foot force forest form "
    "forward four free fresh friend front fruit full game garden gas gather general gentle glass "
    "gold grand grass gray great green ground group grow guess guide hair half hand happy hard "
    "heart heat heavy history hold hole home horse hot hour house human hundred hunt hurry ice"
)
WORDS: Final = tuple(_TEXT.split(" "))
"""Lists common words, most of which are one token of a large vocabulary."""


@dataclass(frozen=True)
class Measure:
    """A Measure is how long prompts are in a server's tokens, found out by asking it.

    Attributes:
        tokens_per_word: on average, of WORDS.
        tokens_around: that the server adds to every prompt, as by a chat template.
    """

    tokens_per_word: float
    tokens_around: float

    def words(self, tokens: int) -> int:
        """Returns how many words make a prompt of so many tokens, one at least."""
        return max(1, round((tokens - self.tokens_around) / self.tokens_per_word))


def measured(few: int, tokens_of_few: int, many: int, tokens_of_many: int) -> Measure:
    """Returns the measure of a server that counted two prompts of so many words."""
    tokens_per_word = max(0.1, (tokens_of_many - tokens_of_few) / (many - few))
    return Measure(tokens_per_word, max(0.0, tokens_of_few - few * tokens_per_word))


class Prompts:
    """Prompts are texts of random words.

    Args:
        tokens: that each prompt has, what the server adds included.
        shared_tokens: that all of them begin with.
        seed: makes the same ones again.
    """

    def __init__(self, measure: Measure, tokens: int, shared_tokens: int, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - texts, not secrets
        whole = measure.words(tokens)
        shared = min(whole - 1, round(shared_tokens / measure.tokens_per_word))
        self._own = whole - max(0, shared)
        self._shared = [*self._words(shared)] if shared > 0 else []

    def next(self) -> str:
        """Returns a prompt that is unlike the others from its first word on, behind what all
        share.
        """
        return " ".join([*self._shared, *self._words(self._own)])

    def _words(self, count: int) -> list[str]:
        return self._random.choices(WORDS, k=count)
