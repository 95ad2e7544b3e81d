"""stop_regex: which patterns may be handed to the engine, whose scheduler searches the end of its text for them after every token.

A search that takes long stops the whole engine, so a pattern must say how long a match can be, and must not leave Python's backtracking
matcher many ways to try (https://swtch.com/~rsc/regexp/regexp1.html has the classic `(a?){n}a{n}`).
"""

import importlib
import re
import warnings
from collections.abc import Iterable
from typing import Any, Final

from protocol.errors import InvalidRequest

PATTERN_BYTES_MAX: Final = 256
"""SGLang's own bound of one pattern."""

MATCH_CHARS_MAX: Final = 512
"""The engine decodes as many tokens of its output again after every token."""

WAYS_MAX: Final = 4_096
"""Upper bound of the ways to try a match from one place. With the longest match: a few hundred thousand steps, some milliseconds."""

_parser: Any = importlib.import_module("re._parser")
"""What takes patterns apart for `re`; SGLang asks it too. It has no types and no public name since Python 3.11."""

_ONE_CHAR: Final = frozenset(("LITERAL", "NOT_LITERAL", "IN", "ANY"))
_REPEATS: Final = frozenset(("MAX_REPEAT", "MIN_REPEAT"))


def is_plain(pattern: str) -> bool:
    """Whether it matches nothing but itself. SGLang cuts its text at such a match, as at a stop string, and at no other."""
    return not set(pattern) & set(".^$*+?{}[]\\|()")


def check_stop_patterns(patterns: Iterable[str]) -> None:
    """Refuse what could stop an engine.

    Raises:
        InvalidRequest: naming the pattern and what is wrong with it.
    """
    for pattern in patterns:
        reason = _objection(pattern)
        if reason:
            raise InvalidRequest(f"The pattern {pattern[:80]!r} {reason}.", param="stop_regex")


def _objection(pattern: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # what the next Python will read otherwise
            re.compile(pattern)
            longest_chars, ways = _size(_parser.parse(pattern))
    except (re.error, RecursionError, OverflowError, FutureWarning) as error:
        return f"is no regular expression: {error}"
    except _Unbounded as error:
        return str(error)
    checks = {
        "can match nothing at all": not longest_chars,
        f"can match {longest_chars} characters; at most {MATCH_CHARS_MAX} are allowed": longest_chars > MATCH_CHARS_MAX,
        "can be matched in too many ways; use fewer repetitions and alternatives": ways > WAYS_MAX,
        f"is longer than {PATTERN_BYTES_MAX} bytes": len(pattern.encode(errors="surrogatepass")) > PATTERN_BYTES_MAX,
    }
    return next((reason for reason, holds in checks.items() if holds), None)


class _Unbounded(Exception):
    """A part of a pattern whose match has no bound."""


def _size(parts: Any) -> tuple[int, int]:
    """Longest match in characters, and an upper bound of the ways to match; both saturate above their limits."""
    longest, ways = 0, 1
    for op, value in parts:
        part_longest, part_ways = _size_of_part(op, value)
        longest, ways = longest + part_longest, min(ways * part_ways, WAYS_MAX + 1)
    return longest, ways


def _size_of_part(op: Any, value: Any) -> tuple[int, int]:
    kind = str(op)
    if kind in _ONE_CHAR:
        return 1, 1
    if kind == "AT":
        return 0, 1
    if kind == "SUBPATTERN":
        return _size(value[3])
    if kind == "BRANCH":
        sizes = [_size(branch) for branch in value[1]]
        return max(longest for longest, _ in sizes), sum(ways for _, ways in sizes)
    if kind in _REPEATS:
        least, most, inner = value
        if most > MATCH_CHARS_MAX:
            raise _Unbounded(f"has a repetition without a bound; write {{0,64}} instead of *, and at most {{0,{MATCH_CHARS_MAX}}}")
        longest, ways = _size(inner)
        return longest * int(most), min((int(most) - int(least) + 1) * min(ways ** int(most), WAYS_MAX + 1), WAYS_MAX + 1)
    raise _Unbounded("refers to other matches or looks around, which is not allowed here")
