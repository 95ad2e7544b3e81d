"""A generator makes something that nobody asked for before anybody counts on it."""

import logging

from msgspec.structs import replace

from protocol.diffusion import Diffuse
from protocol.errors import InvalidRequest, MeshError
from protocol.process.start_error import StartError
from workers.diffusion.generator import Generator
from workers.diffusion.outputs import Outputs

log = logging.getLogger(__name__)


async def warm_up(generator: Generator, outputs: Outputs, order: Diffuse) -> None:
    """Has an order made and thrown away; a model that cannot make it, in a size of its own.

    Raises:
        StartError: it cannot be made.
    """
    bench = await outputs.bench()
    try:
        try:
            await generator.make(order, bench, _ignore, _ignore)
        except InvalidRequest as error:
            log.info("the model makes something else first: %s", error.message)
            order = replace(order, width=0, height=0, frames=0, guidance_scale=None)
            await generator.make(order, bench, _ignore, _ignore)
    except MeshError as error:
        raise StartError(f"the first thing to be made failed: {error.message}") from error
    finally:
        outputs.clear(bench)


def _ignore(*_: object) -> None:
    """Takes the steps of what nobody waits for."""
