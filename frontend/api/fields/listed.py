"""Some fields have one text or several, each a string or token ids."""

from collections.abc import Sequence
from typing import cast

from protocol.errors import InvalidRequest

Listed = list[str | list[int]]


def listed(asked: str | Sequence[str | int | list[int]], param: str, most: int) -> Listed:
    """Returns what a field asks for one by one; nothing of an empty list.

    Args:
        most: so many may be asked for at once.
    Raises:
        InvalidRequest: too many, or a mixture of kinds.
    """
    if isinstance(asked, str):
        return [asked]
    kinds = {type(part) for part in asked}
    if len(kinds) > 1:
        raise InvalidRequest(
            f"A list of {param}s must hold only strings, only token ids, or only lists of token "
            "ids.",
            param=param,
        )
    if kinds == {int}:
        return [cast("list[int]", asked)]
    if len(asked) > most:
        raise InvalidRequest(f"At most {most} {param}s are allowed, got {len(asked)}.", param=param)
    return cast("Listed", asked)
