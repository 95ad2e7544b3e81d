"""The last spans of a process are waited for no longer than a collector that is there needs.

Imports nothing of OpenTelemetry.
"""

import atexit
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

CLOSE_S_MAX: Final = 2.0
"""Bounds the wait for the last spans to be sent, at a process's end: a collector that is there has
them within milliseconds.
"""

log = logging.getLogger(__name__)


def send_last(shutdown: Callable[[], object]) -> None:
    """Calls what sends the last spans; returns when it has, or in CLOSE_S_MAX without them."""
    closing = threading.Thread(target=shutdown, daemon=True)
    closing.start()
    closing.join(CLOSE_S_MAX)
    if closing.is_alive():
        log.warning("the last spans were not taken by their collector, and are lost")


def send_last_of_others() -> None:
    """Has the spans sent that are not ours, as those of an engine, which OpenTelemetry would do at
    the exit, waiting for a collector that is not there as long as it tries an export: ten seconds
    and more.
    """
    tracing: Any = sys.modules.get("opentelemetry.trace")
    if tracing is None:
        return
    # the API alone, where nobody has set up the SDK, gives one that sends nothing
    shutdown = getattr(tracing.get_tracer_provider(), "shutdown", None)
    if shutdown is not None:
        atexit.unregister(shutdown)
        send_last(shutdown)
