"""Tells which requests a lost worker cannot have died of, since it had not begun them.

Pure.

An engine's queue may hold thousands. If each of them were a suspect, they would be tried one by one
on the workers that are left.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Final

from frontend.fleet.booking import Booking

SUSPECT_STEPS: Final = 3
"""Counts the prefill steps' worth of prompts at the head of a rank's queue that count as begun: the
step under way, the next one, which may be in preparation, and one for what we do not know of the
engine's order.
"""

READ_S: Final = 1.0
"""Is the time after which a worker that is heard of has read a request sent to it, and not died of
that.
"""


def bystanders(bookings: Iterable[Booking], heard_at: float) -> set[str]:
    """Returns the ids of the requests that waited in the engine's queue far from their turn.

    Args:
        bookings: what the worker had, in the order of sending.
        heard_at: when it gave its last sign of life.
    """
    waiting = [
        booking for booking in bookings if not booking.prefilled and booking.rank.orders_by_priority
    ]
    # stable: equal ones stay in order
    waiting.sort(key=lambda booking: (booking.rank.dp_rank, -booking.priority))
    found: set[str] = set()
    for _, queue in groupby(waiting, key=lambda booking: booking.rank.dp_rank):
        tokens_before = 0
        for booking in queue:
            far = tokens_before >= SUSPECT_STEPS * booking.rank.prefill_step_tokens
            if far and booking.stream.sent_at < heard_at - READ_S:
                found.add(booking.stream.request_id)
            tokens_before += booking.prefill_tokens
    return found
