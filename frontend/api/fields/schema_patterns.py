"""A grammar would not hold an answer to all that a schema's regular expressions say."""

import re
from typing import Final

_NEGATED_CLASSES: Final = re.compile(
    r"(?<!\\)((?:\\\\)*)\[\^(?:\\.|[^\]\\])+(?:\]|\\?\Z)", re.DOTALL
)
"""Matches negated classes. One that is not closed reaches to the end, so that a thousand of them
are not searched a thousand times.
"""
_CLASSES_AND_ESCAPES: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*(?:\]|\\?\Z)", re.DOTALL)
_ESCAPED_IN_JSON: Final = re.compile(
    r'["\x00-\x1f]|\\(?:[\\nrtfv0]|x[01]|x22|x5c|u00[01]|u0022|u005c)', re.IGNORECASE
)
_ANCHORS_INSIDE: Final = re.compile(r"[^(|:^]\^|\$[^)|$]")


def unenforced_in(pattern: str) -> str | None:
    """Tells what of a regular expression the grammar passes over, or makes broken JSON of; None if
    it holds all.
    """
    without = _NEGATED_CLASSES.sub(r"\1.", pattern)
    if _ESCAPED_IN_JSON.search(without):
        return "a character that JSON escapes"
    plain = _CLASSES_AND_ESCAPES.sub(".", without)
    if any(look in plain for look in ("(?=", "(?!", "(?<=", "(?<!")):
        return "looking ahead or behind"
    return "an anchor in the middle" if _ANCHORS_INSIDE.search(plain) else None
