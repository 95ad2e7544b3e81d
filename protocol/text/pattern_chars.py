"""Tells what a place of a regular expression takes, as Python's `re` does: one character, or an
anchor between two of them.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct


class Chars(Struct, frozen=True):
    """A Chars says what one character of a match may be."""

    singles: str = ""
    ranges: tuple[tuple[int, int], ...] = ()
    categories: tuple[str, ...] = ()
    negated: bool = False
    ascii_only: bool = False
    ignore_case: bool = False

    @property
    def is_literal(self) -> bool:
        """Tells whether it is one character and no other."""
        return len(self.singles) == 1 and not (
            self.ranges or self.categories or self.negated or self.ignore_case
        )

    def has(self, char: str) -> bool:
        """Returns whether the character is one of them."""
        return any(map(self._has, _cases(char) if self.ignore_case else (char,))) != self.negated

    def _has(self, char: str) -> bool:
        code = ord(char)
        return (
            char in self.singles
            or any(low <= code <= high for low, high in self.ranges)
            or any(
                _is_of(char, category, ascii_only=self.ascii_only) for category in self.categories
            )
        )


def chars_of(kind: str, value: Any, flags: int) -> Chars:
    """Returns the characters that one node of Python's pattern parser stands for."""
    if kind == "ANY":
        return Chars("" if flags & re.DOTALL else "\n", negated=True)
    singles: list[str] = []
    ranges: list[tuple[int, int]] = []
    categories: list[str] = []
    items: list[tuple[Any, Any]] = value if kind == "IN" else [("LITERAL", value)]
    for op, item in items:
        match str(op):
            case "LITERAL":
                singles.append(chr(item))
            case "RANGE":
                ranges.append(item)
            case "CATEGORY":
                categories.append(str(item))
            case _:
                pass  # NEGATE, which comes first
    negated = kind == "NOT_LITERAL" or str(items[0][0]) == "NEGATE"
    bound_to_ascii, ignore_case = bool(flags & re.ASCII), bool(flags & re.IGNORECASE)
    return Chars(
        "".join(sorted(set(singles))),
        tuple(ranges),
        tuple(categories),
        negated,
        bound_to_ascii,
        ignore_case,
    )


def _cases(char: str) -> set[str]:
    """Returns a character in each of its cases, as far as these are one character."""
    cases = {char, char.lower(), char.upper()}
    return {
        case
        for each in tuple(cases)
        for case in (each, each.lower(), each.upper())
        if len(case) == 1
    }


_CATEGORIES: Final[dict[str, Callable[[str], bool]]] = {
    "DIGIT": str.isdecimal,
    "SPACE": str.isspace,
    "WORD": lambda char: char.isalnum() or char == "_",
}


def _is_of(char: str, category: str, *, ascii_only: bool) -> bool:
    r"""Returns whether a character is of the parser's CATEGORY_DIGIT (`\d`), CATEGORY_NOT_DIGIT
    (`\D`) and so on.
    """
    name = category.removeprefix("CATEGORY_").removeprefix("NOT_")
    return (_CATEGORIES[name](char) and (not ascii_only or char.isascii())) != category.startswith(
        "CATEGORY_NOT_"
    )


def anchor_holds(
    kind: str,
    before: str | None,
    after: str | None,
    *,
    is_last: bool,
    ascii_only: bool,
    multiline: bool,
) -> bool:
    """Returns whether an anchor holds between two characters, of which None is the text's end; with
    `is_last` the text ends behind the second.
    """
    match kind:
        case "AT_BEGINNING_STRING":
            return before is None
        case "AT_BEGINNING":
            return before is None or (multiline and before == "\n")
        case "AT_END_STRING":
            return after is None
        case "AT_END":
            return after is None or (after == "\n" and (multiline or is_last))
        case _:
            words = [
                char is not None and _is_of(char, "CATEGORY_WORD", ascii_only=ascii_only)
                for char in (before, after)
            ]
            return (words[0] != words[1]) == (kind == "AT_BOUNDARY")
