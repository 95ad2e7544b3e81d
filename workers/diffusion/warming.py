"""A generator makes something that nobody asked for before anybody counts on it."""

import io
import logging
from pathlib import Path
from typing import Final

from msgspec.structs import replace
from PIL import Image

from protocol.diffusion import Diffuse
from protocol.errors import InvalidRequest, MeshError
from protocol.process.start_error import StartError
from workers.diffusion.generator import PICTURE_PARAM, Generator
from workers.diffusion.outputs import Outputs

_SIDE_PIXELS: Final = 512
"""Is a side of the picture that a first order begins with, where it has no size itself."""

log = logging.getLogger(__name__)


async def warm_up(generator: Generator, outputs: Outputs, order: Diffuse) -> None:
    """Has an order made and thrown away; for a model that cannot make it, with a picture to begin
    with if it needs one, or in a size of its own.

    Raises:
        StartError: it cannot be made.
    """
    bench = await outputs.bench()
    try:
        await _make(generator, bench, order)
    except MeshError as error:
        raise StartError(f"the first thing to be made failed: {error.message}") from error
    finally:
        outputs.clear(bench)


async def _make(generator: Generator, bench: Path, order: Diffuse) -> None:
    while True:
        try:
            await generator.make(order, bench, _ignore, _ignore)
        except InvalidRequest as error:
            otherwise = _otherwise(order, error)
            if otherwise == order:
                raise
            log.info("the model makes something else first: %s", error.message)
            order = otherwise
        else:
            return


def _otherwise(order: Diffuse, refused: InvalidRequest) -> Diffuse:
    """Returns what to try instead of an order; the order itself where nothing is left."""
    if refused.param == PICTURE_PARAM and not order.references:
        size = order.width or _SIDE_PIXELS, order.height or _SIDE_PIXELS
        return replace(order, references=[_grey(size)], reference_params=[PICTURE_PARAM])
    return replace(order, width=0, height=0, frames=0, guidance_scale=None)


def _grey(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "grey").save(file, "PNG")
    return file.getvalue()


def _ignore(*_: object) -> None:
    """Takes the steps of what nobody waits for."""
