"""One order is made: its steps are told as they come, and what comes out of them is kept."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from protocol.diffusion import PERCENT_MADE, Diffused, Output, Progress
from protocol.errors import EngineFault, MeshError
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.replies import Failed
from workers.diffusion.generator import Generator, Made, Step
from workers.diffusion.orders import PERCENT_RUNNING_MAX, Order
from workers.diffusion.outputs import Outputs
from workers.engine import BROKEN

log = logging.getLogger(__name__)

FINISHING_MAX: Final = 2
"""So many orders may be written and kept while the next one is made; the writing of more would only
fall behind.
"""


class Making:
    """A Making is the work on one order, from its begin to its end.

    Args:
        heard: called with every step.
        tell: called whenever a percent more is made, with each preview, and when all is made.
    """

    def __init__(
        self,
        order: Order,
        generator: Generator,
        outputs: Outputs,
        *,
        heard: Callable[[Order], None],
        tell: Callable[[Order, Progress], None],
    ) -> None:
        self.order = order
        self._generator = generator
        self._outputs = outputs
        self._heard = heard
        self._tell = tell
        self._previews: list[asyncio.Task[None]] = []
        """Bounded by what the order asks for, as the next ones are."""
        self._shown: list[str] = []
        self._free = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._begun_at = self._loop.time()
        self._task = self._loop.create_task(self._make())
        self._task.add_done_callback(lambda _: self._free.set())

    def give_up(self) -> None:
        """Stops it; nothing more is told of it."""
        for task in (self._task, *self._previews):
            task.cancel()

    async def freed(self) -> bool:
        """Waits until the generator can take the next order; tells whether this one was not given
        up.
        """
        await self._free.wait()
        return not self._task.cancelled()

    async def end(self) -> Diffused | Failed | None:
        """Waits for the end, and returns it; None if it was given up."""
        await asyncio.wait({self._task})
        if self._task.cancelled():
            return None
        error = self._task.exception()
        if error is None:
            made_us = int(1_000_000 * (self._loop.time() - self._begun_at))
            return Diffused(self._task.result(), made_us, self._outputs.expires_unix_s)
        if isinstance(error, MeshError):
            return Failed(error.code, error.message[:MESSAGE_CHARS_MAX], error.param)
        log.error("an order could not be made", exc_info=error)
        return BROKEN

    async def _make(self) -> list[Output]:
        kept: list[Output] = []
        bench = await self._outputs.bench()
        try:
            made = await self._generator.make(
                self.order.request, bench, self._on_step, self._on_free
            )
            _check(made, self.order, bench)
            for each in made:
                output = await self._outputs.keep(each, beside=kept)
                kept.append(output)
            await asyncio.gather(*self._previews)
        except BaseException:
            self._outputs.drop([*(each.output_id for each in kept), *self._shown])
            raise
        finally:
            self._outputs.clear(bench)
        return kept

    def _on_step(self, step: Step) -> None:
        order = self.order
        if order.ended or self._task.done():
            return
        percent = min(100 * step.step // max(1, step.steps), PERCENT_RUNNING_MAX)
        moved, order.percent = percent > order.percent, max(percent, order.percent)
        self._heard(order)
        if step.preview is not None and len(self._previews) < order.previews_max:
            showing = self._show(step, step.preview, self._previews[-1:])
            self._previews.append(self._loop.create_task(showing))
        elif moved:
            self._tell(order, _progress(order, step))

    def _on_free(self) -> None:
        self._free.set()
        if not self.order.ended:
            self.order.percent = PERCENT_MADE
            self._tell(self.order, Progress(PERCENT_MADE))

    async def _show(
        self, step: Step, preview: Made, before: Sequence["asyncio.Task[None]"]
    ) -> None:
        """Tells of a preview, behind the one before it; one that cannot be kept is left out."""
        if before:
            await asyncio.wait(before)
        try:
            output = await self._outputs.keep(preview, preview=True)
        except MeshError as error:
            log.debug("a preview is left out: %s", error.message)
            return
        if self.order.ended:
            self._outputs.drop([output.output_id])
        else:
            self._shown.append(output.output_id)
            self._tell(self.order, _progress(self.order, step, output))


def _progress(order: Order, step: Step, preview: Output | None = None) -> Progress:
    return Progress(order.percent, step.step, step.steps, step.index, preview)


def _check(made: Sequence[Made], order: Order, bench: Path) -> None:
    """Refuses what a generator must not give: clients count on as many outputs as they asked for,
    and a file anywhere else is somebody else's.
    """
    if len(made) != order.request.count:
        raise EngineFault(f"{len(made)} outputs were made, {order.request.count} were asked for.")
    if any(each.path.parent != bench for each in made):
        raise EngineFault("What was made lies in another folder.")
