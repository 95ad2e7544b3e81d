"""Workers whose operator does something to their engine get no work until it is done."""

import logging

from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from protocol.membership import Heartbeat
from protocol.operated import UNTOUCHED

log = logging.getLogger(__name__)


def note_operated(worker: Worker, heartbeat: Heartbeat, registry: Registry, now: float) -> None:
    """Takes over what a worker says that its operator did.

    What runs there is its own to finish, or to give back.
    """
    operated = heartbeat.operated or UNTOUCHED
    if operated == worker.operated:
        return
    if worker.note_operated(operated, now):
        log.info(
            "worker %s %s",
            worker.worker_id,
            f"takes no requests: {operated.reason}" if operated.state else "takes requests again",
        )
        registry.refresh(worker)
