"""Paths with a part that clients choose."""

import re
from collections.abc import Iterable
from typing import Final

_PART: Final = re.compile(r"\\\{\w+\\\}")


class PathPatterns:
    """PathPatterns finds which pattern a path follows.

    Args:
        patterns: paths with parts in braces, which stand for one name each: `/v1/media/{id}`. Those
            without are left aside.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [
            (re.compile(_PART.sub("[^/]+", re.escape(pattern))), pattern)
            for pattern in patterns
            if "{" in pattern
        ]

    def pattern_of(self, path: str) -> str:
        """Returns the pattern that a path follows; the path itself where there is none."""
        return next((pattern for form, pattern in self._patterns if form.fullmatch(path)), path)
