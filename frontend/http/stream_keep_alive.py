"""Comments in streams that are silent, so that no proxy and no client takes them for dead.

One timer for all of them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable

from frontend.http.exchange import Exchange

log = logging.getLogger(__name__)


async def keep_streams_alive(
    exchanges: Callable[[], Iterable[Exchange]], silence_s_max: float
) -> None:
    """Tick every exchange twice in that time, for ever; not at all if it is 0.

    A stream is silent for half of it at least and all of it at most before it gets a comment.
    """
    while silence_s_max:
        await asyncio.sleep(silence_s_max / 2)
        for exchange in exchanges():
            try:
                exchange.tick()
            except Exception:
                log.exception("defect while keeping request %s alive", exchange.request_id)
