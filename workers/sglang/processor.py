"""Pictures become the pixels that a model's encoder takes, behind
`workers.encoding.encoder.Encoder`: the engines that run their prompts need not decode, scale and
cut them.

SGLang is imported when a processor is made; it loads no weights, and computes on the CPU whatever
else the host has.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

from protocol.media import Encoding, PromptMedia
from protocol.process.start_error import StartError
from protocol.replies import Failed
from workers.engine import EngineFacts, OnDeath
from workers.process.failure_note import one_line
from workers.sglang.cpu import activate_if_cpu_host
from workers.sglang.encode_batches import EncodeBatches, Numbers
from workers.sglang.encoder_arguments import parse_processor_args
from workers.sglang.pictures import GridImages
from workers.sglang.seam.checks import check_seam
from workers.sglang.seam.encoding_table import PROCESSING

log = logging.getLogger(__name__)


class SglangProcessor:
    """A SglangProcessor is a model's Hugging Face image processor as an Encoder.

    Args:
        server_args: SGLang's, which name the model.
        tokenizes: have frontends ask for the tokens of prompts.
    """

    def __init__(self, server_args: Any, *, tokenizes: bool = False) -> None:
        self._server_args = server_args
        self._tokenizes = tokenizes
        self._thread = ThreadPoolExecutor(1, "processor")
        self._processor: Any = None
        self._options: dict[str, Any] = {}
        self._dtype: Any = None
        self._batches: EncodeBatches | None = None

    @classmethod
    def from_argv(cls, argv: Sequence[str], *, tokenizes: bool = False) -> Self:
        """Imports SGLang and reads its arguments, all of those that the worker does not know
        itself.

        Raises:
            StartError: an argument is wrong, SGLang is not installed, or the model sees nothing, or
            in a way that cannot be encoded apart.
        """
        cpu = activate_if_cpu_host(argv)
        check_seam(PROCESSING)
        return cls(parse_processor_args(argv, cpu=cpu), tokenizes=tokenizes)

    async def start(self, on_death: OnDeath) -> EngineFacts:  # noqa: ARG002  # nothing here dies
        """Loads tokenizer and processor, and has a picture processed. The loop is blocked.

        Raises:
            StartError: it cannot; the message says why in one line.
        """
        try:
            return await self._load()
        except StartError:
            raise
        except Exception as error:
            log.debug("the processor could not start", exc_info=True)
            raise StartError(
                f"SGLang cannot process for {self._server_args.model_path}: {one_line(error)}"
            ) from error

    async def encode(self, pictures: Sequence[PromptMedia]) -> Sequence[Encoding | Failed]:
        """Returns the pixels of each picture, or why there are none."""
        assert self._batches is not None, "encode before start"
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(self._batches.encode, pictures)
        )

    async def stop(self) -> None:
        """Takes no more; the batch that runs ends unheard."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> EngineFacts:
        from workers.sglang.encoder_facts import processor_facts  # noqa: PLC0415
        from workers.sglang.seam.lone_manager import lone_manager  # noqa: PLC0415

        manager, templates = lone_manager(self._server_args)
        self._processor = manager.processor.image_processor
        self._options = dict(manager.mm_processor.image_config or {})
        self._dtype = manager.model_config.dtype
        images = GridImages(self._processor, self._options)
        self._batches = EncodeBatches(images, self._pixels, "pixels")
        return await processor_facts(manager, templates, images, tokenizes=self._tokenizes)

    def _pixels(self, images: Sequence[Any]) -> list[Numbers]:
        """Returns the grid and the pixels of each picture, shape [patches, columns], of the model's
        type, which its encoder would make of them first.
        """
        made = self._processor(images=[*images], return_tensors="pt", **self._options)
        grids = [tuple(map(int, grid)) for grid in made["image_grid_thw"]]
        pixels = made["pixel_values"].to(self._dtype)
        patches = [frames * rows * columns for frames, rows, columns in grids]
        return [*zip(grids, pixels.split(patches), strict=True)]
