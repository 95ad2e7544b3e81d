"""Sends comments into streams that are silent, so that no proxy and no client takes them for dead.

One timer for all of them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from frontend.http.exchange import Exchange
from frontend.http.sending import SENDING

log = logging.getLogger(__name__)

KEEP_ALIVE: Final = b": keep-alive\n\n"
"""Is a comment, as the standard of server-sent events has it: clients skip it."""


async def keep_streams_alive(
    exchanges: Callable[[], Iterable[Exchange]], silence_s_max: float
) -> None:
    """Ticks every exchange twice in `silence_s_max` seconds, for ever; not at all if that is 0.

    A stream is silent for half of it at least and all of it at most before it gets a comment.
    """
    while silence_s_max:
        await asyncio.sleep(silence_s_max / 2)
        for exchange in exchanges():
            try:
                tick(exchange)
            except Exception:
                log.exception("defect while keeping request %s alive", exchange.request_id)


def tick(exchange: Exchange) -> None:
    """Counts a tick of an exchange's silence; to be called at equal times.

    A stream that was silent between two of them gets a comment, which starts its 200 if need
    be.
    """
    if not (exchange.streams and exchange.takes_comments) or exchange.silent_ticks == SENDING:
        return
    exchange.silent_ticks += 1
    if exchange.silent_ticks < 2:
        return
    # A server's send waits only while the client's buffer is full, and before it writes
    # anything. Who does not read needs no comment, so that is no reason to wait; and what does
    # not wait cannot come between the two halves of another send.
    sending = exchange.send_events(KEEP_ALIVE)
    try:
        sending.send(None)
    except StopIteration:
        exchange.silent_ticks = 1
    else:
        sending.close()
        exchange.silent_ticks = 0
