"""Decides whether a worker that says Hello may come in: not where there are too many, nor beside
another of its name, nor twice. Pure.
"""

import logging
from typing import Final

from frontend.fleet.encoders import encodes
from frontend.fleet.model_entry import PREFILL
from frontend.fleet.registry import Registry
from protocol.limits import WORKER_SILENT_S_MAX
from protocol.losses import LossCause
from protocol.membership import Hello
from protocol.requests import AnotherWay, Refused

log = logging.getLogger(__name__)

WORKERS_MAX: Final = 4_096
"""Bounds the connections that may say Hello; more is a mistake or an attack."""

DUPLICATE_PAUSE_S: Final = 2.0
"""Is how long a second worker of one name is sent away: the first is either alive, or noticed as
dead by then.
"""


def turned_away(
    registry: Registry, identity: bytes, hello: Hello, now: float
) -> Refused | AnotherWay | None:
    """Returns what to tell a connection that is not to be a worker; None if it is, in the place of
    whoever goes by its name.

    A worker that finds this frontend under several addresses says Hello on each of its connections:
    the first one serves, and the others are kept for when it ends. One that comes again under the
    number of the first is that one, reconnected.
    """
    if len(registry.workers) >= WORKERS_MAX:
        return Refused(f"this frontend has {WORKERS_MAX} workers already")
    lack = _lack(hello)
    if lack:
        return Refused(lack)
    known = registry.namesake(hello.worker_id)
    if known is None or now - known.heard_at > WORKER_SILENT_S_MAX:
        return None
    if known.hello.epoch != hello.epoch:
        if not known.has_double:
            log.error(
                (
                    "two workers go by the name %s; the second is sent away as long as the first "
                    "is here"
                ),
                hello.worker_id,
            )
            known.has_double = True
        return Refused(
            f"another worker goes by the name {hello.worker_id!r}", pause_s=DUPLICATE_PAUSE_S
        )
    if hello.way in (0, known.hello.way):
        return None
    known.note_other_way(identity)
    return AnotherWay()


def _lack(hello: Hello) -> str:
    """Returns what a worker must say of itself and does not, in words; empty if it says all."""
    if hello.stage == PREFILL and hello.bootstrap is None:
        return "a prefill worker must say where its bootstrap server is"
    if encodes(hello) and not (hello.encodings and hello.card.media and hello.card.media.encoder):
        return "a worker that encodes pictures must say for which model, and where they are"
    return ""


def replaced_as(known: Hello, newer: Hello) -> LossCause:
    """Returns why a worker is given up in whose place another connection of its name comes."""
    if known.epoch != newer.epoch:
        return "died"
    # over another of its ways it comes in only where nothing is heard over the first
    return "restarted" if newer.way in (0, known.way) else "silent"
