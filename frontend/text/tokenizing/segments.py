"""Finds where a text can be cut so that its segments, tokenized each by itself, give the ids of the
whole.

Tokenizers look for added tokens first and treat what lies between two of them separately:
normalizer, pre-tokenizer and merges never see across. So an added token that is found wherever its
text occurs (a mark, such as <|im_end|>) is a place to cut:

    ids(a + mark + b) = ids(a + mark) + ids(mark + b) without its first id

The second segment begins with the mark so that it is not the start of a text, which some tokenizers
treat in a way of its own.
"""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Final, Protocol

from frontend.text.tokenizing.hard_texts import FRAGMENTS

SEGMENT_CHARS_MIN: Final = 1_024
"""Is the least length of a segment in characters, some 250 tokens.

Smaller ones cost more to look up (0.8 µs each) and leave less of a text's end to be tokenized anew
(1 ms with the slower library).
"""

MARKS_MAX: Final = 4
"""Bounds the marks that are searched for: one would do for most templates, and each is a pass over
the text.
"""

_TRIALS: Final = 48


class AddedToken(Protocol):
    """An AddedToken is the library's description of one added token."""

    @property
    def content(self) -> str: ...
    @property
    def single_word(self) -> bool: ...
    @property
    def normalized(self) -> bool: ...


class Encodes(Protocol):
    """An Encodes is what the self-check needs of a tokenizer backend."""

    def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Returns ids as u32 little-endian."""
        ...


def safe_marks(added: Iterable[AddedToken]) -> list[str]:
    """Returns the added tokens that are found wherever their text occurs, since no other one (nor
    itself) can cover a part of it from the left.
    """
    added = list(added)
    contents = [token.content for token in added if token.content]
    tails = {content[-size:] for content in contents for size in range(1, len(content))}
    return [
        token.content
        for token in added
        if token.content.strip() == token.content != ""
        and not (token.normalized or token.single_word)
        and not any(token.content in other for other in contents if other != token.content)
        and not any(token.content[:size] in tails for size in range(1, len(token.content)))
    ]


def marks_in(templates: str, safe: Sequence[str]) -> list[str]:
    """Returns at most MARKS_MAX of the safe marks, those that chat templates write most."""
    counted = sorted(((templates.count(mark), mark) for mark in safe), reverse=True)
    return [mark for count, mark in counted[:MARKS_MAX] if count]


def cuts_agree(library: Encodes, marks: Sequence[str]) -> bool:
    """Returns whether hard texts, cut at every mark, give the ids of the whole: the self-check."""
    random = Random(len(marks))  # noqa: S311 - reproducible, not secret
    for mark in marks:
        for _ in range(_TRIALS):
            before, after = (
                "".join(random.choices((*FRAGMENTS, *marks), k=random.randint(0, 3)))
                for _ in range(2)
            )
            whole = library.encode(before + mark + after, add_special_tokens=False)
            first, second = (
                library.encode(segment, add_special_tokens=False)
                for segment in (before + mark, mark + after)
            )
            if whole != first + second[4:]:
                return False
    return True


def cut(text: str, marks: Sequence[str], chars_min: int = SEGMENT_CHARS_MIN) -> list[str]:
    """Returns the segments of a text, cut at marks.

    Each but the first begins with the mark that ends the one before.

    The cuts of a text are cuts of every longer text that begins with it, which is what makes a
    growing chat find its segments again.
    """
    segments: list[str] = []
    start, end, length = 0, 0, len(text)
    places = [-1] * len(marks)
    while True:
        wanted = end + chars_min
        for number, place in enumerate(places):
            if place < wanted:
                found = text.find(marks[number], wanted)
                places[number] = length if found < 0 else found
        place = min(places, default=length)
        if place == length:
            segments.append(text[start:])
            return segments
        start, end, before = place, place + len(marks[places.index(place)]), start
        segments.append(text[before:end])


def join(ids_of_segments: Sequence[bytes]) -> bytes:
    """Returns the packed ids of the whole text: the mark that begins each segment but the first was
    counted before.
    """
    first, *others = ids_of_segments
    return b"".join([first, *(ids[4:] for ids in others)])
