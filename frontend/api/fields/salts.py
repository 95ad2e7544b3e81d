"""Several fields keep a request's KV cache apart; they become one salt, so that no two requests
that set others meet.
"""

from typing import Final

from protocol.errors import InvalidRequest
from protocol.limits import NAME_CHARS_MAX

_BETWEEN: Final = "\x1f"
"""Is the unit separator: no part may have it, so that what is joined can be taken apart again."""


def one_salt(*parts: str | None) -> str | None:
    """Joins parts into one salt, by their place: a gateway that sets one of them is not undone by a
    client that sets another.

    One part alone is the salt itself, whichever it is.

    Raises:
        InvalidRequest: they are too long together, or one has the separator.
    """
    given = [part for part in parts if part]
    if not given:
        return None
    salt = given[0] if len(given) == 1 else _BETWEEN.join(part or "" for part in parts)
    if any(_BETWEEN in part for part in given):
        raise InvalidRequest(
            "A cache_salt or extra_key must not have the control character U+001F.",
            param="cache_salt",
        )
    if len(salt) > NAME_CHARS_MAX:
        raise InvalidRequest(
            f"cache_salt and extra_key together have at most {NAME_CHARS_MAX} characters.",
            param="extra_key",
        )
    return salt
