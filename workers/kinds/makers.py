"""Two generators make pictures and videos: SGLang's diffusion pipelines, and the simulation of one.

Each is imported when it is asked for, as the engines are.
"""

import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from msgspec.structs import replace

from protocol.diffusion import Diffuse
from protocol.process.own_directory import process_directory
from protocol.process.start_error import StartError
from workers.diffusion.engine import DiffusionEngine
from workers.diffusion.generator import Generator as MediaGenerator
from workers.diffusion.outputs import Keeping, Outputs
from workers.diffusion.settings import OutputSettings
from workers.diffusion.storage import Storage
from workers.engine import EngineFacts
from workers.health.canary import CanaryFields, MakeCanary, read_canary_fields
from workers.kinds.arguments import Arguments
from workers.kinds.engines import (
    engine_argv,
    help_of_sim,
    require_sglang,
    sim_argv,
    told_where_installed,
)
from workers.kinds.kind import EngineChoice, WorkerKind
from workers.process.model_path import PIPELINES, check_model_path

_MEGABYTE: Final = 1_000_000


def makers(usual: Diffuse) -> dict[str, EngineChoice]:
    """Returns the engines of a kind of worker that makes pictures or videos.

    Args:
        usual: what each makes first, but for its id and model.
    """
    videos = usual.format == "mp4"
    return {
        "sglang": EngineChoice(partial(_engine, usual, partial(_sglang, videos)), _help_of_sglang),
        "sim": EngineChoice(partial(_engine, usual, partial(_simulated, videos)), help_of_sim),
    }


def sign_of_life(usual: Diffuse) -> Callable[[EngineFacts, CanaryFields], MakeCanary]:
    """Returns how workers that make such things are asked for a sign of life: the id says what is
    meant, and nothing is made.
    """

    def canaries(facts: EngineFacts, fields: CanaryFields) -> MakeCanary:
        order = _first(usual, fields, facts)
        return lambda request_id, rank: replace(order, request_id=request_id, routed_dp_rank=rank)

    return canaries


def first_of(usual: Diffuse) -> Callable[[EngineFacts, int, int | None], Diffuse]:
    """Returns what makes the first order of workers that make such things."""
    return lambda facts, _tokens, _rank: _first(usual, CanaryFields(), facts)


def _first(usual: Diffuse, fields: CanaryFields, facts: EngineFacts) -> Diffuse:
    """Returns a first order, as the setting health_check_payload has it."""
    width, _, height = fields.size.partition("x")
    return replace(
        usual,
        request_id=secrets.token_hex(16),
        model=facts.card.name,
        prompt=fields.prompt,
        steps=fields.num_inference_steps,
        width=int(width or usual.width),
        height=int(height or usual.height),
        frames=fields.num_frames or usual.frames,
        fps=fields.fps or usual.fps,
        guidance_scale=usual.guidance_scale
        if fields.guidance_scale is None
        else fields.guidance_scale,
    )


def _engine(
    usual: Diffuse,
    make: Callable[[Arguments], MediaGenerator],
    _: WorkerKind,
    arguments: Arguments,
) -> DiffusionEngine:
    settings = arguments.settings
    fields = read_canary_fields(settings.health_check_payload)
    generator, wished = make(arguments), settings.usual()
    return DiffusionEngine(
        generator,
        _outputs(settings),
        lifetime_s=settings.media_output_lifetime_secs,
        first_order=lambda facts: _first(wished.sized(usual), fields, facts),
        unix_ms=_unix_ms,
        usual=wished,
    )


def _outputs(settings: OutputSettings) -> Outputs:
    """Opens where what is made is kept.

    Raises:
        StartError: there is no such place, or nothing can be stored there.
    """
    place = None
    if settings.media_output_fs_url is not None:
        place = Storage(settings.media_output_fs_url)
    return Outputs(
        Path(mkdtemp(dir=process_directory(), prefix="made-")),
        Keeping(
            bytes_max=settings.media_output_mb * _MEGABYTE,
            lifetime_s=settings.media_output_lifetime_secs,
        ),
        unix_ms=_unix_ms,
        place=place,
        url=(settings.media_output_http_url or "").rstrip("/"),
    )


def _unix_ms() -> float:
    return time.time() * 1000


@contextmanager
def _pipeline_argv(arguments: Arguments) -> Generator[Sequence[str]]:
    """Yields the command line of SGLang's diffusion pipelines.

    Raises:
        StartError: the model path cannot be meant, SGLang is not installed, or our own settings ask
        for what no pipeline has.
    """
    settings = arguments.settings
    if (
        settings.use_sglang_tokenizer
        or settings.dyn_tool_call_parser
        or (settings.dyn_reasoning_parser)
    ):
        raise StartError("tokenizers and parsers are for workers that generate text")
    check_model_path(arguments.told("--model-path", "--model"), PIPELINES)
    require_sglang()
    with engine_argv(arguments.adding("--log-level", settings.log_level), "--config") as argv:
        yield argv


def _sglang(videos: bool, arguments: Arguments) -> MediaGenerator:
    with _pipeline_argv(arguments) as argv:
        from workers.sglang.diffusion.generator import SglangGenerator  # noqa: PLC0415

        return SglangGenerator.from_argv(argv, videos=videos)


def _help_of_sglang() -> str:
    def told() -> str:
        from workers.sglang.diffusion.arguments import generator_help  # noqa: PLC0415

        return generator_help()

    return told_where_installed(told)


def _simulated(videos: bool, arguments: Arguments) -> MediaGenerator:
    with sim_argv(arguments) as argv:
        from workers.sim.generator import SimGenerator  # noqa: PLC0415

        return SimGenerator.from_argv(argv, videos=videos)
