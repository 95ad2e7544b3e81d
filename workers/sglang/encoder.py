"""Pictures are encoded by SGLang's own encoder, in a thread of this process, behind
`workers.encoding.encoder.Encoder`.

SGLang is imported when an encoder is made, on a CPU host after the stand-ins of
`workers.sglang.cpu`.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self, TypeVar

from protocol.errors import EngineFault, WorkerLost
from protocol.media import Encoding, PromptMedia
from protocol.process.start_error import StartError
from protocol.replies import Failed
from workers.engine import BROKEN, EngineFacts, OnDeath
from workers.process.failure_note import one_line
from workers.sglang.cpu import activate_if_cpu_host
from workers.sglang.encoder_arguments import parse_encoder_args
from workers.sglang.pictures import GridImages, batches, decoded, miscounted, refused
from workers.sglang.seam.checks import check_seam
from workers.sglang.seam.encoding_table import ENCODING

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

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
        self._images: GridImages | None = None
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
        try:
            check_seam(ENCODING)
        except ImportError as error:
            raise StartError(f"SGLang cannot be imported: {one_line(error)}") from error
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
        try:
            return await self._in_thread(lambda: self._encode(pictures))
        except _DeviceLostError as error:
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
        self._encoder = MMEncoder(self._server_args, dist_init_method="tcp://127.0.0.1:0", rank=0)
        preprocessor = self._encoder.preprocessor
        # SGLang's engine reads the options of pictures there, and its encoder one level deeper.
        options = preprocessor.vision_config["image"]
        options.update((get_mm().mm_process_config or {}).get("image") or {})
        self._images = GridImages(preprocessor.image_processor, options)
        return encoder_facts(
            self._server_args,
            self._encoder.model_config,
            self._images,
            self._tokens_of,
            made_by=f"encoder on {self._encoder.device}",
        )

    def _tokens_of(self, images: Sequence[Any]) -> list[int]:
        """Returns how many tokens each picture became."""
        return [len(vectors) for _, vectors in self._vectors(images)]

    def _encode(self, pictures: Sequence[PromptMedia]) -> list[Encoding | Failed]:
        assert self._images is not None, "encode before start"
        made: list[Any] = [decoded(picture) for picture in pictures]
        places = [at for at, each in enumerate(made) if not isinstance(each, Failed)]
        counts: list[int] = []
        for at in [*places]:
            try:
                counts += self._images.tokens([made[at].size])
            except ValueError as error:  # of sides that are no shape for a picture
                made[at] = refused(pictures[at], f"The image cannot be encoded: {error}")
                places.remove(at)
        for batch in batches(counts):
            chosen = [places[place] for place in batch]
            encoded = self._encode_batch([made[at] for at in chosen])
            for at, each in zip(chosen, encoded, strict=True):
                made[at] = each if isinstance(each, Failed) else _told(pictures[at], *each)
        return made

    def _encode_batch(self, images: Sequence[Any]) -> list[Any]:
        """Returns grid and vectors of each picture, or its failure: what fails together is tried
        alone.
        """
        try:
            return self._vectors(images)
        except _DeviceLostError:
            raise
        except Exception:
            if len(images) > 1:
                return [each for image in images for each in self._encode_batch([image])]
            log.exception("a picture could not be encoded")
            return [BROKEN]

    def _vectors(self, images: Sequence[Any]) -> list[tuple[Any, Any]]:
        """Returns the grid and the vectors of each picture, shape [tokens, columns], on the CPU.

        Raises:
            _DeviceLostError: nothing will be encoded any more.
        """
        try:
            return self._run(self._vectors_by_sglang(images))
        except Exception as error:
            lost = _device_lost(error)
            if lost is not None:
                raise _DeviceLostError(lost) from error
            raise

    async def _vectors_by_sglang(self, images: Sequence[Any]) -> list[tuple[Any, Any]]:
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

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        assert self._runner is not None
        return self._runner.run(work)


class _DeviceLostError(Exception):
    """A _DeviceLostError says that nothing will be encoded any more."""


def _device_lost(error: BaseException | None) -> str | None:
    """Returns what says that the device is lost, in one line; None where nothing does.

    SGLang raises its own errors in place of PyTorch's, which stay their context.
    """
    while error is not None:
        if any(words in str(error) for words in _DEVICE_LOST):
            return one_line(error)
        error = error.__cause__ or error.__context__
    return None


def _told(picture: PromptMedia, grid: Any, vectors: Any) -> Encoding | Failed:
    rows, columns = vectors.shape
    wrong = miscounted(picture, rows)
    if wrong is not None:
        return wrong
    dtype = str(vectors.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float16", "bfloat16"):
        return Failed(EngineFault.code, f"The encoder makes numbers of a type {dtype}.")
    return Encoding("vectors", grid, columns, dtype, bytes_of(vectors))


def bytes_of(numbers: Any) -> bytes:
    """Returns a tensor's numbers as they lie in memory, row by row, of any type."""
    import torch  # noqa: PLC0415

    return numbers.contiguous().view(torch.uint8).numpy().tobytes()
