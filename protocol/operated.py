"""Defines what a worker tells of that which an operator did to its engine. Add-only."""

from typing import Annotated

from msgspec import Meta, Struct

from protocol.fields import Count, Name
from protocol.limits import MESSAGE_CHARS_MAX


class Operated(Struct, frozen=True, omit_defaults=True):
    """An Operated says what an operator did to a worker's engine since it started."""

    state: Name = ""
    """Names in a word why the worker takes no requests though nothing is wrong with it: "paused",
    "released", "updating" ...; empty while it takes them.
    """
    reason: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)] = ""
    """Says the same in a sentence's end, for people."""
    soon: bool = False
    """Says that it takes requests again before long, so that it is worth waiting for."""
    flushes: Count = 0
    """Counts how often the engine's cache was emptied: with every one, nothing that was computed
    before is there any more.
    """
    weight_version: Name = ""
    """Names the weights, as whoever loaded them did; empty while nobody has."""


UNTOUCHED = Operated()
"""Nobody did anything to the engine."""
