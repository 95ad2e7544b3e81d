"""Regular expressions that end a text, matched as it comes at a cost per character that has a
bound.

Python's own matcher backtracks: how long it takes is for whoever writes pattern and text to say.
Here a pattern becomes Glushkov's automaton (Glushkov, 1961; Navarro & Raffinot, 1999, for its
states as the bits of a number), which is at all places of the pattern at once.
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
from protocol.text.pattern_chars import Chars, anchor_holds, chars_of

PATTERN_BYTES_MAX: Final = 256
"""SGLang's own bound of one pattern."""

PATTERNS_BYTES_MAX: Final = 1_024
"""All patterns of a request. Python's parser takes up to 12 µs a byte."""

STATES_MAX: Final = 1_024
"""Characters and anchors of all patterns of a request, each as often as it is repeated: bits of the
number that a step shifts.
"""

JUMPS_MAX: Final = 64
"""Ways on that lead elsewhere than to the next state: a step looks at each, for 50 ns."""

PARTS_MAX: Final = 4_096
"""Parts of all patterns, each as often as it is repeated; empty ones have no states."""

ANCHORS_MAX: Final = 16
"""Of all patterns: between two characters a step goes through as many, one after the other."""

KNOWN_CHARS_MAX: Final = 1_024
"""Characters of which an automaton remembers where they fit, some hundred bytes each."""

AUTOMATA_KEPT: Final = 16
"""Choices of one request share theirs, and requests like it."""

_parser: Any = importlib.import_module("re._parser")
"""What takes patterns apart for `re`. It has no types and no public name since Python 3.11."""

_TOO_LARGE: Final = (
    "takes too many states, with the others of this request; use fewer repetitions and alternatives"
)

_warnings_are_ours: Final = Lock()
"""What becomes of warnings is the same for all threads."""

_REPEATS: Final = ("MAX_REPEAT", "MIN_REPEAT")
"""Greedy or not, it is a match; where it ends is where the shortest one does."""


class PatternWatch:
    """Looks in one text for the first match of any pattern.

    Args:
        automaton: of the patterns (`pattern_automaton`).
    """

    __slots__ = ("_automaton", "_before", "_state")

    def __init__(self, automaton: "PatternAutomaton") -> None:
        self._automaton = automaton
        self._state = 0
        self._before: str | None = None

    def feed(self, text: str) -> str | None:
        """Take more text; the pattern that matches by its end, the first listed of those that do so
        first.
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
def pattern_automaton(patterns: tuple[str, ...]) -> "PatternAutomaton":
    """The automaton of these patterns.

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
    automaton = PatternAutomaton()
    for pattern in patterns:
        try:
            automaton.add(pattern)
        except _RefusedError as error:
            raise InvalidRequest(
                f"The pattern {pattern[:80]!r} {error}.", param="stop_regex"
            ) from None
    return automaton


def _size_bytes(pattern: str) -> int:
    return len(pattern.encode(errors="surrogatepass"))


class _RefusedError(Exception):
    """What a pattern is or does that it must not."""


class _Fragment(Struct, frozen=True):
    """A part of a pattern: the states that it may begin and end in, and whether it may be passed
    over.
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


class PatternAutomaton:
    """States are bits; each stands for a character or an anchor of a pattern that has just been
    passed.

    Attributes:
        first: states that a match may begin in.
        accepting: those that it may end in.
        anchors: those that are anchors, passed between two characters.
        empty: an accepting state of a pattern that matches nothing at all, and so any text; 0
        without one.
    """

    def __init__(self) -> None:
        self.first = self.accepting = self.anchors = self.empty = 0
        self._ends: list[tuple[int, str]] = []
        self._steps = 0
        self._jumps: dict[int, int] = {}
        """States gone to → states that they are gone to from."""
        self._states = self._parts = 0
        self._literals: dict[str, int] = {}
        self._classes: dict[Chars, int] = {}
        self._anchored: dict[tuple[str, bool, bool], int] = {}
        self._known: dict[str, int] = {}

    def follow(self, state: int) -> int:
        """The states that may come next."""
        reached = self.first | (state & self._steps) << 1
        for targets, sources in self._jumps.items():
            if state & sources:
                reached |= targets
        return reached

    def fits(self, char: str) -> int:
        """The states that this character leads to."""
        known = self._known.get(char)
        if known is None:
            known = self._literals.get(char, 0)
            for chars, states in self._classes.items():
                if chars.has(char):
                    known |= states
            if len(self._known) >= KNOWN_CHARS_MAX:
                self._known.clear()
            self._known[char] = known
        return known

    def at_anchors(
        self, state: int, before: str | None, after: str | None, *, is_last: bool
    ) -> int:
        """The state with the anchors that hold between two characters (None: the text's end) and
        are next.
        """
        holding = 0
        for (kind, ascii_only, multiline), states in self._anchored.items():
            if anchor_holds(
                kind, before, after, is_last=is_last, ascii_only=ascii_only, multiline=multiline
            ):
                holding |= states
        while more := self.follow(state) & holding & ~state:
            state |= more
        return state

    def pattern_of(self, accepted: int) -> str:
        """The first listed pattern that ends in one of these states."""
        return next(pattern for states, pattern in self._ends if states & accepted)

    def add(self, pattern: str) -> None:
        """Look for this pattern too.

        Raises:
            _RefusedError: it is none, or too large.
        """
        if _size_bytes(pattern) > PATTERN_BYTES_MAX:
            raise _RefusedError(f"is longer than {PATTERN_BYTES_MAX} bytes")
        try:
            with _warnings_are_ours, warnings.catch_warnings():
                # what the next Python will read otherwise
                warnings.simplefilter("error", FutureWarning)
                parsed = _parser.parse(pattern)
            begun = self._states
            whole = self._sequence(parsed, parsed.state.flags)
        except (re.error, RecursionError, OverflowError, ValueError, FutureWarning) as error:
            raise _RefusedError(f"is no regular expression: {error}") from None
        if self._states - begun == (self.anchors >> begun).bit_count():
            raise _RefusedError("can match nothing at all")
        end = whole.last
        if whole.optional:
            end |= 1 << begun
            self.empty = self.empty or 1 << begun
        self.first |= whole.first
        self.accepting |= whole.last
        self._ends.append((end, pattern))

    def _sequence(self, parts: Any, flags: int) -> _Fragment:
        self._parts += 1
        if self._parts > PARTS_MAX:
            raise _RefusedError(_TOO_LARGE)
        whole = _Fragment()
        for op, value in parts:
            part = self._part(str(op), value, flags)
            self._connect(whole.last, part.first)
            whole = whole.then(part)
        return whole

    def _part(self, kind: str, value: Any, flags: int) -> _Fragment:
        if kind in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            return self._char(chars_of(kind, value, flags))
        if kind == "AT":
            return self._anchor(str(value), flags)
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
        raise _RefusedError("refers to other matches or looks around, which is not allowed here")

    def _repeat(self, least: int, most: int, inner: Any, flags: int) -> _Fragment:
        """As many copies in a row as there may be, the last of endless ones leading to itself.

        It may end behind each but the first few.
        """
        endless = most is _parser.MAXREPEAT
        first = last = before = 0
        optional = not least
        for number in range(1, (max(least, 1) if endless else most) + 1):
            copy = self._sequence(inner, flags)
            self._connect(before, copy.first)
            first, before, optional = first or copy.first, copy.last, optional or copy.optional
            last = last | copy.last if optional or number > least else copy.last
            if endless and number >= least:
                self._connect(copy.last, copy.first)
        return _Fragment(first, last, optional)

    def _state(self) -> int:
        if self._states >= STATES_MAX:
            raise _RefusedError(_TOO_LARGE)
        self._states += 1
        return 1 << (self._states - 1)

    def _char(self, chars: "Chars") -> _Fragment:
        state = self._state()
        if chars.is_literal:
            self._literals[chars.singles] = self._literals.get(chars.singles, 0) | state
        else:
            self._classes[chars] = self._classes.get(chars, 0) | state
        return _Fragment(state, state, optional=False)

    def _anchor(self, kind: str, flags: int) -> _Fragment:
        state = self._state()
        self.anchors |= state
        if self.anchors.bit_count() > ANCHORS_MAX:
            raise _RefusedError(_TOO_LARGE)
        key = (kind, bool(flags & re.ASCII), bool(flags & re.MULTILINE))
        self._anchored[key] = self._anchored.get(key, 0) | state
        return _Fragment(state, state, optional=False)

    def _connect(self, sources: int, targets: int) -> None:
        if not sources or not targets:
            return
        if sources.bit_count() == 1 and targets == sources << 1:
            self._steps |= sources
            return
        self._jumps[targets] = self._jumps.get(targets, 0) | sources
        if len(self._jumps) > JUMPS_MAX:
            raise _RefusedError(_TOO_LARGE)
