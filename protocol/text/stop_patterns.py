"""Matches regular expressions that end a text, as it comes, at a cost per character that has a
bound.

Python's own matcher backtracks: how long it takes is for whoever writes pattern and text to say.
Here Python's parser takes patterns apart, and they become one automaton.
"""

import importlib
import re
import warnings
from functools import lru_cache
from threading import Lock
from typing import Any, Final

from msgspec import Struct

from protocol.errors import InvalidRequest
from protocol.limits import STOPS_MAX
from protocol.text.pattern_automaton import TOO_LARGE, PatternAutomaton, RefusedError
from protocol.text.pattern_chars import chars_of

PATTERN_BYTES_MAX: Final = 256
"""Bounds the UTF-8 bytes of one pattern, as SGLang does."""

PATTERNS_BYTES_MAX: Final = 1_024
"""Bounds the UTF-8 bytes of all patterns of a request: Python's parser takes up to 12 µs a byte."""

PARTS_MAX: Final = 4_096
"""Bounds the parts of all patterns, each as often as it is repeated; empty ones have no states."""

AUTOMATA_KEPT: Final = 16
"""Bounds the automata kept: choices of one request share theirs, and requests like it."""

_parser: Any = importlib.import_module("re._parser")
"""Takes patterns apart for `re`; it has no types and no public name since Python 3.11."""

_warnings_are_ours: Final = Lock()
"""Is held while warnings are errors, which they are for all threads."""

_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT")
"""Names the parser's repetitions: greedy or not, it is a match; where it ends is where the shortest
one does.
"""


class PatternWatch:
    """A PatternWatch looks in one text for the first match of any pattern.

    Args:
        automaton: of the patterns (`pattern_automaton`).
    """

    __slots__ = ("_automaton", "_before", "_state")

    def __init__(self, automaton: PatternAutomaton) -> None:
        self._automaton = automaton
        self._state = 0
        self._before: str | None = None

    def feed(self, text: str) -> str | None:
        """Takes more text and returns the pattern that matches by its end, the first listed of
        those that do so first; None where none does.
        """
        automaton, state, before = self._automaton, self._state, self._before
        follow, fits, accepting, anchored = (
            automaton.follow,
            automaton.fits,
            automaton.accepting,
            automaton.anchors,
        )
        matched = automaton.empty if text else 0
        for index, char in enumerate(text):
            if matched:
                break
            if anchored:
                state = automaton.at_anchors(state, before, char, is_last=index == len(text) - 1)
                matched = state & accepting
            state, before = (follow(state) if state else automaton.first) & fits(char), char
            matched |= state & accepting
        if anchored and text and not matched:  # whatever comes next, the text so far ends here
            matched = automaton.at_anchors(state, before, None, is_last=True) & accepting
        self._state, self._before = state, before
        return automaton.pattern_of(matched) if matched else None


@lru_cache(maxsize=AUTOMATA_KEPT)
def pattern_automaton(patterns: tuple[str, ...]) -> PatternAutomaton:
    """Returns the automaton of these patterns.

    Raises:
        InvalidRequest: naming the pattern and what is wrong with it.
    """
    if len(patterns) > STOPS_MAX:
        raise InvalidRequest(
            f"at most {STOPS_MAX} patterns are supported, got {len(patterns)}", param="stop_regex"
        )
    if sum(map(_size_bytes, patterns)) > PATTERNS_BYTES_MAX:
        raise InvalidRequest(
            f"all patterns together may have at most {PATTERNS_BYTES_MAX} bytes", param="stop_regex"
        )
    builder = _Builder()
    for pattern in patterns:
        try:
            builder.add(pattern)
        except RefusedError as error:
            raise InvalidRequest(
                f"The pattern {pattern[:80]!r} {error}.", param="stop_regex"
            ) from None
    return builder.automaton


def _size_bytes(pattern: str) -> int:
    return len(pattern.encode(errors="surrogatepass"))


class _Fragment(Struct, frozen=True):
    """A _Fragment is a part of a pattern: the states that it may begin and end in, and whether it
    may be passed over.
    """

    first: int = 0
    last: int = 0
    optional: bool = True

    def then(self, other: "_Fragment") -> "_Fragment":
        return _Fragment(
            self.first | (other.first if self.optional else 0),
            other.last | (self.last if other.optional else 0),
            self.optional and other.optional,
        )


class _Builder:
    """A _Builder makes the automaton of patterns, one after the other."""

    def __init__(self) -> None:
        self.automaton = PatternAutomaton()
        self._parts = 0

    def add(self, pattern: str) -> None:
        """Adds a pattern to those looked for.

        Raises:
            RefusedError: it is none, or too large.
        """
        if _size_bytes(pattern) > PATTERN_BYTES_MAX:
            raise RefusedError(f"is longer than {PATTERN_BYTES_MAX} bytes")
        try:
            with _warnings_are_ours, warnings.catch_warnings():
                # what the next Python will read otherwise
                warnings.simplefilter("error", FutureWarning)
                parsed = _parser.parse(pattern)
            begun = self.automaton.states_made
            whole = self._sequence(parsed, parsed.state.flags)
        except (re.error, RecursionError, OverflowError, ValueError, FutureWarning) as error:
            raise RefusedError(f"is no regular expression: {error}") from None
        made = self.automaton.states_made - begun
        if made == (self.automaton.anchors >> begun).bit_count():
            raise RefusedError("can match nothing at all")
        self.automaton.first |= whole.first
        self.automaton.accept(pattern, whole.last, empty=1 << begun if whole.optional else 0)

    def _sequence(self, parts: Any, flags: int) -> _Fragment:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise RefusedError(TOO_LARGE)
        whole = _Fragment()
        for op, value in parts:
            part = self._part(str(op), value, flags)
            self.automaton.connect(whole.last, part.first)
            whole = whole.then(part)
        return whole

    def _part(self, kind: str, value: Any, flags: int) -> _Fragment:
        if kind in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            state = self.automaton.of_char(chars_of(kind, value, flags))
            return _Fragment(state, state, optional=False)
        if kind == "AT":
            state = self.automaton.of_anchor(str(value), flags)
            return _Fragment(state, state, optional=False)
        if kind == "SUBPATTERN":
            _, added, removed, inner = value
            return self._sequence(inner, (flags | added) & ~removed)
        if kind == "BRANCH":
            branches = [self._sequence(branch, flags) for branch in value[1]]
            first = last = 0
            for branch in branches:
                first, last = first | branch.first, last | branch.last
            return _Fragment(first, last, any(branch.optional for branch in branches))
        if kind in _REPEATS:
            least, most, inner = value
            return self._repeat(least, most, inner, flags)
        raise RefusedError("refers to other matches or looks around, which is not allowed here")

    def _repeat(self, least: int, most: int, inner: Any, flags: int) -> _Fragment:
        """Makes as many copies in a row as there may be, the last of endless ones leading to
        itself.

        It may end behind each but the first few.
        """
        endless = most is _parser.MAXREPEAT
        first = last = before = 0
        optional = not least
        for number in range(1, (max(least, 1) if endless else most) + 1):
            copy = self._sequence(inner, flags)
            self.automaton.connect(before, copy.first)
            first, before, optional = first or copy.first, copy.last, optional or copy.optional
            last = last | copy.last if optional or number > least else copy.last
            if endless and number >= least:
                self.automaton.connect(copy.last, copy.first)
        return _Fragment(first, last, optional)
