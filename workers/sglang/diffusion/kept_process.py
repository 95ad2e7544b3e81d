"""The process that makes pictures is started anew when it has ended, some times."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from protocol.errors import WorkerLost
from protocol.process.start_error import StartError
from workers.engine import OnDeath
from workers.sglang.diffusion.messages import Ended, Reply, Setup, Stepped, Up
from workers.sglang.diffusion.process import GeneratorProcess

log = logging.getLogger(__name__)

STARTS_MAX: Final = 3
"""A process that has ended is started so often, one after the other, before nobody tries any more:
what is wrong for longer than that is wrong with the host.
"""

_PAUSE_S: Final = 1.0
"""Before a start, doubled with each further one: a GPU's memory is free some time after its
process.
"""

READY_S_MAX: Final = 60.0
"""Who needs the process waits no longer than this many seconds for one that is started anew: a
large model is loaded for longer, and another worker may be ready.
"""


class KeptProcess:
    """A KeptProcess is there again some time after it has ended.

    Args:
        setup: what it is told first.
        on_reply: told what it says to orders.
        on_stepped: told of steps.
        on_lost: told, with the reason, that it has ended; nothing is said to any order any more.
    """

    def __init__(
        self,
        setup: Setup,
        *,
        on_reply: Callable[[Reply], None],
        on_stepped: Callable[[Stepped], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._begin = partial(GeneratorProcess.start, setup)
        self._on_reply = on_reply
        self._on_stepped = on_stepped
        self._on_lost = on_lost
        self._process: GeneratorProcess | None = None
        self._is_up = asyncio.Event()
        self._up: asyncio.Future[Up] | None = None
        """Waits for what the process that starts says of itself."""
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> Up:
        """Starts it; returns once it has loaded its model.

        Raises:
            StartError: it ends before that; the message says why in one line.
        """
        up = self._up = asyncio.get_running_loop().create_future()
        process = self._process = await self._begin(
            on_reply=self._heard, on_stepped=self._on_stepped
        )
        if self._stopping.is_set():
            process.kill()
        try:
            await asyncio.wait([up, process.ended], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            process.kill()
            raise
        if not up.done():
            raise StartError(process.ended.result())
        self._is_up.set()
        return up.result()

    def keep(self, on_death: OnDeath) -> None:
        """Starts it anew from now on, when it ends.

        Args:
            on_death: called when that is of no use any more.
        """
        self._keeper = asyncio.get_running_loop().create_task(self._keep(on_death))

    async def running(self) -> GeneratorProcess:
        """Returns the process once its model is loaded.

        Raises:
            WorkerLost: that takes too long.
        """
        try:
            async with asyncio.timeout(READY_S_MAX):
                while True:
                    await self._is_up.wait()
                    assert self._process is not None
                    if self._process.runs:
                        return self._process
                    await asyncio.shield(self._process.ended)
                    await asyncio.sleep(0)  # who keeps it is told after us
        except TimeoutError as error:
            raise WorkerLost("The worker's generator is being started anew.") from error

    async def stop(self) -> None:
        """Ends it, now and for good."""
        self._stopping.set()
        if self._process is not None:
            self._process.kill()
        if self._keeper is not None:
            await asyncio.shield(self._keeper)  # which may have begun to start another one
        if self._process is not None:
            await asyncio.shield(self._process.ended)

    async def _keep(self, on_death: OnDeath) -> None:
        while True:
            assert self._process is not None
            reason = await asyncio.shield(self._process.ended)
            self._is_up.clear()
            self._on_lost(reason)
            if self._stopping.is_set():
                return
            log.warning("%s; it is started anew", reason)
            failed = await self._start_again()
            if failed is not None:
                if not self._stopping.is_set():
                    on_death(failed)
                return

    async def _start_again(self) -> str | None:
        """Starts it, in some tries; returns why it cannot be started."""
        reason = "it was stopped"
        for tried in range(STARTS_MAX):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _PAUSE_S * 2**tried)
            if self._stopping.is_set():
                break
            try:
                await self.start()
            except StartError as error:
                reason = str(error)
                log.warning("SGLang's generator could not be started anew: %s", reason)
            else:
                return None
        return reason

    def _heard(self, reply: Reply) -> None:
        if isinstance(reply, Up):
            if self._up is not None and not self._up.done():
                self._up.set_result(reply)
        elif not isinstance(reply, Ended):
            self._on_reply(reply)
