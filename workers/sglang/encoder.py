"""Pictures are encoded by SGLang's own encoder, in a thread of this process, behind
`workers.encoding.encoder.Encoder`.

SGLang is imported when an encoder is made, on a CPU host after the stand-ins of
`workers.sglang.cpu`.
"""

import asyncio
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, Self

from protocol.errors import WorkerLost
from protocol.media import Encoding, PromptMedia
from protocol.process.own_directory import process_directory
from protocol.process.start_error import StartError
from protocol.replies import Failed
from workers.engine import EngineFacts, OnDeath
from workers.process.failure_note import one_line
from workers.sglang.cpu import activate_if_cpu_host
from workers.sglang.encode_batches import DeviceLostError, EncodeBatches, Numbers
from workers.sglang.encoder_arguments import parse_encoder_args
from workers.sglang.pictures import GridImages
from workers.sglang.seam.checks import check_seam
from workers.sglang.seam.encoding_table import ENCODING
from workers.sglang.sockets import LOOPBACK_INTERFACE

log = logging.getLogger(__name__)

_DEVICE_LOST: Final = ("CUDA error", "NCCL error", "device-side assert", "HIP error")
"""What PyTorch says when a device answers this process no more, whatever is asked of it."""


class SglangEncoder:
    """A SglangEncoder is SGLang's MMEncoder as an Encoder: the part of a model that sees, without
    its language model where SGLang can load it so.
    """

    def __init__(self, server_args: Any) -> None:
        self._server_args = server_args
        self._thread = ThreadPoolExecutor(1, "encoder")
        """Loads and encodes: devices and loops of torch and SGLang belong to a thread."""
        self._runner: asyncio.Runner | None = None
        self._encoder: Any = None
        self._batches: EncodeBatches | None = None
        self._on_death: OnDeath | None = None

    @classmethod
    def from_argv(cls, argv: Sequence[str]) -> Self:
        """Imports SGLang and reads its arguments, all of those that the worker does not know
        itself.

        Raises:
            StartError: an argument is wrong, SGLang is not installed, or the model sees nothing, or
            in a way that cannot be encoded apart.
        """
        cpu = activate_if_cpu_host(argv)
        check_seam(ENCODING)
        return cls(parse_encoder_args(argv, cpu=cpu))

    async def start(self, on_death: OnDeath) -> EngineFacts:
        """Loads the model and encodes two pictures; returns when others can be.

        Raises:
            StartError: it cannot; the message says why in one line.
        """
        try:
            facts = await self._in_thread(self._load)
        except StartError:
            raise
        except Exception as error:
            log.debug("the encoder could not start", exc_info=True)
            raise StartError(
                f"SGLang cannot encode with {self._server_args.model_path}: {one_line(error)}"
            ) from error
        self._on_death = on_death
        return facts

    async def encode(self, pictures: Sequence[PromptMedia]) -> Sequence[Encoding | Failed]:
        """Returns the vectors of each picture, or why there are none.

        Once the device is lost, `on_death` has been called and whatever is asked for is lost too.
        """
        assert self._batches is not None, "encode before start"
        try:
            return await self._in_thread(partial(self._batches.encode, pictures))
        except DeviceLostError as error:
            on_death, self._on_death = self._on_death, None
            if on_death is not None:
                on_death(f"the encoder's device is lost: {error}")
            return [Failed(WorkerLost.code, "The worker's device is lost.")] * len(pictures)

    async def stop(self) -> None:
        """Takes no more; the batch that runs ends unheard."""
        self._on_death = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _load(self) -> EngineFacts:
        from sglang.srt.disaggregation.encoder.server import MMEncoder  # noqa: PLC0415
        from sglang.srt.runtime_context import get_mm, publish  # noqa: PLC0415

        from workers.sglang.encoder_facts import encoder_facts  # noqa: PLC0415

        publish(self._server_args, role="encoder")
        self._runner = asyncio.Runner()
        # a world of one that no other user reaches: by a port it would be reached from everywhere
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK_INTERFACE)
        world = f"file://{process_directory()}/world"
        self._encoder = MMEncoder(self._server_args, dist_init_method=world, rank=0)
        preprocessor = self._encoder.preprocessor
        # SGLang's engine reads the options of pictures there, and its encoder one level deeper.
        options = preprocessor.vision_config["image"]
        options.update((get_mm().mm_process_config or {}).get("image") or {})
        images = GridImages(preprocessor.image_processor, options)
        self._batches = EncodeBatches(images, self._vectors, "vectors")
        return encoder_facts(
            self._server_args,
            self._encoder.model_config,
            images,
            self._batches.tokens_of,
            made_by=f"encoder on {self._encoder.device}",
        )

    def _vectors(self, images: Sequence[Any]) -> list[Numbers]:
        """Returns the grid and the vectors of each picture, shape [tokens, columns], on the CPU.

        Raises:
            DeviceLostError: nothing will be encoded any more.
        """
        assert self._runner is not None
        try:
            return self._runner.run(self._vectors_by_sglang(images))
        except Exception as error:
            lost = device_lost(error)
            if lost is not None:
                raise DeviceLostError(lost) from error
            raise

    async def _vectors_by_sglang(self, images: Sequence[Any]) -> list[Numbers]:
        from sglang.srt.managers.schedule_batch import Modality  # noqa: PLC0415

        encoder = self._encoder
        request = {
            "req_id": "",
            "num_parts": 1,
            "part_idx": 0,
            "mm_items": [*images],
            "hashes": None,
        }
        context = await encoder._prepare_encode_context(
            [request], Modality.IMAGE, use_global_cache=False
        )
        vectors = await encoder._compute_embedding(context, keep_on_gpu=False)
        prepared = context.preprocess_result
        grids = [tuple(map(int, grid)) for grid in prepared.grid_thw]
        return [*zip(grids, vectors.split(prepared.token_counts), strict=True)]


def device_lost(error: BaseException | None) -> str | None:
    """Returns what says that the device is lost, in one line; None where nothing does.

    SGLang raises its own errors in place of PyTorch's, which stay their context.
    """
    while error is not None:
        if any(words in str(error) for words in _DEVICE_LOST):
            return one_line(error)
        error = error.__cause__ or error.__context__
    return None
