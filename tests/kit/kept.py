"""What several files of a group share, and what ends it behind the last of them: an idle engine
takes 4 % of a core.
"""

from collections.abc import Callable

_ends: list[Callable[[], None]] = []


def keep(end: Callable[[], None]) -> None:
    """Have this called behind the group of files that runs."""
    _ends.append(end)


def end_kept() -> None:
    """End all that is kept, the latest first."""
    while _ends:
        _ends.pop()()
