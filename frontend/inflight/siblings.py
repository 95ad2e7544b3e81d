"""Lets the choices of one prompt share its cache: the first is computed, the others follow it."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from frontend.routing.leaders import SHARED_TOKENS_MIN
from frontend.routing.route import RouteRequest
from protocol.generation import Generate


class Sibling(Struct, frozen=True):
    """A Sibling is one of the choices that one prompt is to have.

    Attributes:
        begun: set when it has a token, for which its siblings wait; None where nobody waits for it.
    """

    index: int
    request: Generate
    route: RouteRequest
    begun: asyncio.Event | None = None


def siblings(requests: Sequence[tuple[Generate, RouteRequest]]) -> list[list[Sibling]]:
    """Returns the choices of each prompt, prompt by prompt, with an event where others wait for the
    first.

    Requests of one prompt share its route.

    An engine that gets several prompts of one beginning in one step computes each of them whole. So
    where that would be much, the others wait until the first one's prompt is computed, and then
    follow it to its rank.
    """
    if len(requests) == 1:  # as nearly always
        return [[Sibling(0, *requests[0])]]
    families: dict[int, list[Sibling]] = {}
    for index, (request, route) in enumerate(requests):
        families.setdefault(id(route), []).append(Sibling(index, request, route))
    for family in families.values():
        first = family[0]
        if (len(family) - 1) * first.route.prompt_tokens >= SHARED_TOKENS_MIN:
            # Its first token must be seen, even if nobody reads it as it comes.
            family[0] = Sibling(
                first.index, replace(first.request, stream=True), first.route, asyncio.Event()
            )
    return list(families.values())
