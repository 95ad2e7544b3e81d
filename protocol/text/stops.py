"""Finds stop strings and patterns in a stream of text, however the text is cut into chunks.

Of several stops, the one that is complete first wins, for that is where a generation ends; of stops
complete at the same character, the one listed first, as SGLang does (`Req._check_str_based_finish`,
srt/managers/schedule_batch.py). SGLang looks once per step, so when one token completes two stops
its answer is the first listed of both; ours is the earlier.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from protocol.errors import InvalidRequest
from protocol.limits import STOP_CHARS_MAX, STOPS_CHARS_MAX, STOPS_MAX
from protocol.text.stop_patterns import PatternWatch, pattern_automaton

STOPS_KEPT: Final = 16
"""Bounds how many requests' prepared stops are kept, for their choices to share: at worst a
megabyte each.
"""


class StopMatcher:
    """A StopMatcher looks for all stops at once (Shift-And: Baeza-Yates & Gonnet, 1992), and holds
    the text that may still turn into one.

    Held back is only the longest suffix that begins some stop. Cost: linear in the text; where
    nothing is held, a search for the stops' first characters skips ahead at C speed. Callers
    without stops need no matcher.

    Args:
        stops: what ends the text; empty strings are ignored.
        include_stop: emit the stop itself too (SGLang's `no_stop_trim`).
        patterns: regular expressions that end the text behind the chunk in which they match first.
        A stop of the same chunk is before them.
    Raises:
        InvalidRequest: more than STOPS_MAX stops, one longer than STOP_CHARS_MAX, more than
        STOPS_CHARS_MAX together, or a pattern that is refused.
    """

    __slots__ = ("_held", "_include_stop", "_matched", "_patterns", "_state", "_stops")

    def __init__(
        self, stops: Sequence[str], include_stop: bool = False, patterns: Sequence[str] = ()
    ) -> None:
        self._stops = _stops_of(tuple(stops))
        self._patterns = PatternWatch(pattern_automaton(tuple(patterns))) if patterns else None
        self._include_stop = include_stop
        self._state = 0
        self._held = ""
        self._matched: str | None = None

    def feed(self, text: str) -> tuple[str, str | None]:
        """Takes more text and returns what of it may be shown.

        Returns:
            The text that is safe to emit, and the stop or pattern that ended it or None. After a
            stop all text is dropped.
        """
        if self._matched is not None:
            return "", self._matched
        safe, self._matched = self._look_for_stops(text)
        if (
            self._matched is None
            and self._patterns is not None
            and (pattern := self._patterns.feed(text)) is not None
        ):
            safe, self._matched = safe + self.flush(), pattern
        return safe, self._matched

    def flush(self) -> str:
        """Returns the text still held back, which became no stop, at the end of the stream."""
        held = "" if self._matched is not None else self._held
        self._held, self._state = "", 0
        return held

    def _look_for_stops(self, text: str) -> tuple[str, str | None]:
        stops, state, position = self._stops, self._state, 0
        find_first, begins, ends, fitting = (
            stops.find_first,
            stops.begins,
            stops.ends,
            stops.places.get,
        )
        while position < len(text):
            if not state:
                found = find_first(text, position)
                if found is None:
                    break
                position = found.start()
            state = (state << 1 | begins) & fitting(text[position], 0)
            position += 1
            if state & ends:
                stop = stops.ended_by(state)
                return self._emit(
                    text[:position], held_chars=0 if self._include_stop else len(stop)
                ), stop
        if not state and not self._held:
            return text, None
        self._state = state
        return self._emit(text, held_chars=stops.begun_chars(state)), None

    def _emit(self, text: str, held_chars: int) -> str:
        whole = self._held + text if self._held else text
        cut = len(whole) - held_chars
        self._held = whole[cut:]
        return whole[:cut]


class _Stops:
    """A _Stops holds stop strings behind each other, with a bit for each of their characters.

    In a matcher's state those are set up to which some stop has come.

    Attributes:
        begins, ends: the bits of first and of last characters.
        places: character → the bits of where it stands.
        find_first: finds the next first character in a text, from a position on.
    """

    __slots__ = ("_spans", "begins", "ends", "find_first", "places")

    def __init__(self, stops: Sequence[str]) -> None:
        self.begins = self.ends = 0
        self.places: dict[str, int] = {}
        self._spans: list[tuple[str, int, int]] = []
        bit = 1
        for stop in stops:
            self._spans.append((stop, bit.bit_length() - 1, (1 << len(stop)) - 1))
            self.begins |= bit
            for char in stop:
                self.places[char] = self.places.get(char, 0) | bit
                bit <<= 1
            self.ends |= bit >> 1
        first_chars = "".join(sorted({re.escape(stop[0]) for stop in stops}))
        self.find_first = re.compile(f"[{first_chars}]" if first_chars else r"(?!)").search

    def ended_by(self, state: int) -> str:
        """Returns the first listed stop that is complete."""
        return next(
            stop for stop, begins_at, _ in self._spans if state >> begins_at + len(stop) - 1 & 1
        )

    def begun_chars(self, state: int) -> int:
        """Returns the length of the longest beginning of a stop."""
        return (
            max(
                ((state >> begins_at & span).bit_length() for _, begins_at, span in self._spans),
                default=0,
            )
            if state
            else 0
        )


@lru_cache(maxsize=STOPS_KEPT)
def _stops_of(listed: tuple[str, ...]) -> _Stops:
    stops = [stop for stop in listed if stop]
    if len(stops) > STOPS_MAX:
        raise InvalidRequest(
            f"at most {STOPS_MAX} stop sequences are supported, got {len(stops)}", param="stop"
        )
    if any(len(stop) > STOP_CHARS_MAX for stop in stops):
        raise InvalidRequest(
            f"a stop sequence may have at most {STOP_CHARS_MAX} characters", param="stop"
        )
    if sum(map(len, stops)) > STOPS_CHARS_MAX:
        raise InvalidRequest(
            f"all stop sequences together may have at most {STOPS_CHARS_MAX} characters",
            param="stop",
        )
    return _Stops(stops)
