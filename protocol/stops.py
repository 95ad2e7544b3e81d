"""Stop strings found in a stream of text, however the text is cut into chunks.

Of several stops, the one that is complete first wins, for that is where a generation ends; of stops complete at the same
character, the one listed first, as SGLang does (`Req._check_str_based_finish`, srt/managers/schedule_batch.py). SGLang
looks once per step, so when one token completes two stops its answer is the first listed of both; ours is the earlier.
"""

import re
from collections import deque
from collections.abc import Sequence
from typing import Final

from protocol.errors import InvalidRequest
from protocol.limits import STOP_CHARS_MAX, STOPS_MAX

_NO_STOP: Final = STOPS_MAX


class StopMatcher:
    """An Aho-Corasick automaton (Aho & Corasick, 1975) and the text that may still turn into a stop.

    Held back is only the longest suffix that begins some stop. Cost: linear in the text; where nothing is held,
    a search for the stops' first characters skips ahead at C speed. Callers without stops need no matcher.

    Args:
        stops: what ends the text; empty strings are ignored.
        include_stop: emit the stop itself too (SGLang's `no_stop_trim`).
    Raises:
        InvalidRequest: more than STOPS_MAX stops, or one longer than STOP_CHARS_MAX.
    """

    __slots__ = ("_automaton", "_first", "_held", "_include_stop", "_matched", "_state", "_stops")

    def __init__(self, stops: Sequence[str], include_stop: bool = False) -> None:
        self._stops = [stop for stop in stops if stop]
        if len(self._stops) > STOPS_MAX:
            raise InvalidRequest(f"at most {STOPS_MAX} stop sequences are supported, got {len(self._stops)}", param="stop")
        if any(len(stop) > STOP_CHARS_MAX for stop in self._stops):
            raise InvalidRequest(f"a stop sequence may have at most {STOP_CHARS_MAX} characters", param="stop")
        self._include_stop = include_stop
        self._automaton = _Automaton(self._stops)
        first_chars = "".join(sorted({re.escape(stop[0]) for stop in self._stops}))
        self._first = re.compile(f"[{first_chars}]") if first_chars else None
        self._state = 0
        self._held = ""
        self._matched: str | None = None

    def feed(self, text: str) -> tuple[str, str | None]:
        """Take more text.

        Returns:
            The text that is safe to emit, and the stop that ended it or None. After a stop all text is dropped.
        """
        if self._matched is not None:
            return "", self._matched
        if self._first is None or not (self._state or self._first.search(text)):
            return text, None
        end = self._advance(text)
        if end is None:
            return self._emit(text, held_chars=self._automaton.depth[self._state]), None
        stop = self._matched = self._stops[self._automaton.stop_at[self._state]]
        return self._emit(text[:end], held_chars=0 if self._include_stop else len(stop)), stop

    def flush(self) -> str:
        """The text still held back: it did not become a stop. For the end of the stream."""
        held = "" if self._matched is not None else self._held
        self._held, self._state = "", 0
        return held

    def _advance(self, text: str) -> int | None:
        """Run the automaton over `text` until a stop is complete; where it ends, or None."""
        goto, fail, stop_at = self._automaton.goto, self._automaton.fail, self._automaton.stop_at
        find_first = self._first.search if self._first else re.compile("").search
        state, position, length = self._state, 0, len(text)
        while position < length:
            if not state:
                found = find_first(text, position)
                if found is None:
                    break
                position = found.start()
            char = text[position]
            while state and char not in goto[state]:
                state = fail[state]
            state = goto[state].get(char, 0)
            position += 1
            if stop_at[state] != _NO_STOP:
                self._state = state
                return position
        self._state = state
        return None

    def _emit(self, text: str, held_chars: int) -> str:
        whole = self._held + text if self._held else text
        cut = len(whole) - held_chars
        self._held = whole[cut:]
        return whole[:cut]


class _Automaton:
    """States of the trie of all stops; state 0 is the root.

    Attributes:
        goto: state → {char: next state}, shape [states].
        fail: state → the state of its longest proper suffix.
        depth: state → characters matched so far.
        stop_at: state → index of the first listed stop that ends here, or _NO_STOP.
    """

    __slots__ = ("depth", "fail", "goto", "stop_at")

    def __init__(self, stops: Sequence[str]) -> None:
        self.goto: list[dict[str, int]] = [{}]
        self.depth, self.fail, self.stop_at = [0], [0], [_NO_STOP]
        for index, stop in enumerate(stops):
            state = self._insert(stop)
            self.stop_at[state] = min(self.stop_at[state], index)
        self._link()

    def _insert(self, stop: str) -> int:
        state = 0
        for char in stop:
            following = self.goto[state].get(char)
            if following is None:
                following = self.goto[state][char] = len(self.goto)
                self.goto.append({})
                self.depth.append(self.depth[state] + 1)
                self.fail.append(0)
                self.stop_at.append(_NO_STOP)
            state = following
        return state

    def _link(self) -> None:
        queue = deque(self.goto[0].values())
        while queue:
            state = queue.popleft()
            for char, child in self.goto[state].items():
                suffix = self.fail[state]
                while suffix and char not in self.goto[suffix]:
                    suffix = self.fail[suffix]
                self.fail[child] = self.goto[suffix].get(char, 0)
                self.stop_at[child] = min(self.stop_at[child], self.stop_at[self.fail[child]])
                queue.append(child)
