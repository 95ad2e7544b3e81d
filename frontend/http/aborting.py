"""Aborts the exchanges that a client names."""

from collections.abc import Iterable

from frontend.http.exchange import Exchange


def abort(exchanges: Iterable[Exchange], rid: str | None) -> int:
    """Aborts the exchanges that a client may mean by `rid`, all without one; returns how many."""
    named = [each for each in exchanges if rid is None or each.goes_by(rid)]
    for each in named:
        each.abort()
    return len(named)
