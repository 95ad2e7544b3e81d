"""Runs regular expressions as Glushkov's automaton: at all places of a pattern at once, so that a
character costs the same whatever the text was.

States are the bits of a number (Glushkov, 1961; Navarro & Raffinot, 1999).
"""

import re
from typing import Final

from protocol.text.pattern_chars import Chars, anchor_holds

STATES_MAX: Final = 1_024
"""Bounds the characters and anchors of all patterns of a request, each as often as it is repeated:
the bits of the number that a step shifts.
"""

JUMPS_MAX: Final = 64
"""Bounds the ways on that lead elsewhere than to the next state: a step looks at each, for 50 ns.
"""

ANCHORS_MAX: Final = 16
"""Bounds the anchors of all patterns: between two characters a step goes through as many, one after
the other.
"""

KNOWN_CHARS_MAX: Final = 1_024
"""Bounds the characters of which an automaton remembers where they fit, some hundred bytes each."""

TOO_LARGE: Final = (
    "takes too many states, with the others of this request; use fewer repetitions and alternatives"
)


class RefusedError(Exception):
    """A RefusedError says what a pattern is or does that it must not."""


class PatternAutomaton:
    """A PatternAutomaton matches several patterns at once; its states are bits, each for a
    character or an anchor of a pattern that has just been passed.

    Attributes:
        first: states that a match may begin in.
        accepting: those that it may end in.
        anchors: those that are anchors, passed between two characters.
        states_made: how many there are.
        empty: an accepting state of a pattern that matches nothing at all, and so any text; 0
        without one.
    """

    def __init__(self) -> None:
        self.first = self.accepting = self.anchors = self.empty = 0
        self._ends: list[tuple[int, str]] = []
        self._steps = 0
        self._jumps: dict[int, int] = {}
        """Maps the states gone to, to the states that they are gone to from."""
        self.states_made = 0
        self._literals: dict[str, int] = {}
        self._classes: dict[Chars, int] = {}
        self._anchored: dict[tuple[str, bool, bool], int] = {}
        self._known: dict[str, int] = {}

    def follow(self, state: int) -> int:
        """Returns the states that may come next."""
        reached = self.first | (state & self._steps) << 1
        for targets, sources in self._jumps.items():
            if state & sources:
                reached |= targets
        return reached

    def fits(self, char: str) -> int:
        """Returns the states that a character leads to."""
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
        """Returns the state with those anchors that are next and hold between two characters (None
        stands for the text's end).
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
        """Returns the first listed pattern that ends in one of these states."""
        return next(pattern for states, pattern in self._ends if states & accepted)

    def accept(self, pattern: str, last: int, *, empty: int = 0) -> None:
        """Lets these states end a match of this pattern; `empty` is one that does so before any
        character.
        """
        self.accepting |= last
        self.empty = self.empty or empty
        self._ends.append((last | empty, pattern))

    def _new_state(self) -> int:
        if self.states_made >= STATES_MAX:
            raise RefusedError(TOO_LARGE)
        self.states_made += 1
        return 1 << (self.states_made - 1)

    def of_char(self, chars: Chars) -> int:
        """Returns a new state that is passed by one of these characters; raises RefusedError above
        STATES_MAX.
        """
        state = self._new_state()
        if chars.is_literal:
            self._literals[chars.singles] = self._literals.get(chars.singles, 0) | state
        else:
            self._classes[chars] = self._classes.get(chars, 0) | state
        return state

    def of_anchor(self, kind: str, flags: int) -> int:
        """Returns a new state that is passed where this anchor holds; raises RefusedError above
        STATES_MAX or ANCHORS_MAX.
        """
        state = self._new_state()
        self.anchors |= state
        if self.anchors.bit_count() > ANCHORS_MAX:
            raise RefusedError(TOO_LARGE)
        key = (kind, bool(flags & re.ASCII), bool(flags & re.MULTILINE))
        self._anchored[key] = self._anchored.get(key, 0) | state
        return state

    def connect(self, sources: int, targets: int) -> None:
        """Lets these states be followed by those.

        Raises:
            RefusedError: too many ways lead elsewhere than to the next state.
        """
        if not sources or not targets:
            return
        if sources.bit_count() == 1 and targets == sources << 1:
            self._steps |= sources
            return
        self._jumps[targets] = self._jumps.get(targets, 0) | sources
        if len(self._jumps) > JUMPS_MAX:
            raise RefusedError(TOO_LARGE)
