"""A library's signal handlers are kept until the worker is ready for them.

SGLang registers handlers through `loop.add_signal_handler` while it starts, and would take SIGTERM
from the worker, which has requests to finish first. They are caught on their way to the loop and
run when the worker has drained.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any

log = logging.getLogger(__name__)


class DeferredHandlers:
    """DeferredHandlers keeps the last handler that was registered for each signal while `capture`
    was entered.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[], object]] = {}

    @contextmanager
    def capture(self, loop: asyncio.AbstractEventLoop) -> Generator[None]:
        """Keeps what is registered on `loop` from here to the exit, instead of installing it."""
        # the loops of asyncio and uvloop both let an instance shadow its method
        loop.add_signal_handler = self._keep
        try:
            yield
        finally:
            del loop.add_signal_handler

    def run(self, numbers: Iterable[int]) -> None:
        """Calls the handlers kept for these signals.

        What one of them raises is logged: it is no reason not to leave.
        """
        for number in numbers:
            handler = self._handlers.pop(number, None)
            if handler is not None:
                try:
                    handler()
                except Exception:
                    log.exception("a deferred handler of signal %d failed", number)

    @property
    def numbers(self) -> frozenset[int]:
        """Returns the signals that a handler is kept for."""
        return frozenset(self._handlers)

    def _keep(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        self._handlers[sig] = partial(callback, *args)
