"""What an order asks for is said in SGLang's words, or refused, before anything is computed."""

import io
import secrets
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from PIL import Image

from protocol.diffusion import SEED_END, Diffuse
from protocol.errors import InvalidRequest, UnsupportedParameter
from workers.diffusion.generator import PICTURE_PARAM
from workers.process.failure_note import one_line

SEEDS: Final = 2**32
"""Seeds that are drawn by lot are below this: short enough to be typed in again."""

_GRAIN_PIXELS: Final = 16
"""Sides are multiples of this at least: a VAE makes one latent of 8 pixels, and models take two by
two of those together.
"""

_FIELDS: Final = {
    "guidance_scale": "guidance_scale",
    "num_inference_steps": "steps",
    "num_frames": "frames",
    "fps": "fps",
}
"""SGLang's words about a field begin with its name; an order has it under this one."""

_FRAMES_APART_MAX: Final = 64
"""What models can make is no further apart: they take 4, 8 or, in blocks, some dozens together."""


@dataclass(frozen=True)
class Plan:
    """A Plan is an order in SGLang's words.

    Attributes:
        sampling: the keywords of a generation, but for its seed.
        first_seed: that of the first output.
    """

    sampling: dict[str, Any] = field(default_factory=dict[str, Any])
    first_seed: int = 0

    def seed(self, index: int) -> int:
        """Returns the seed of an output."""
        return (self.first_seed + index) % SEED_END


def plan_of(order: Diffuse, references: Sequence[Path], server_args: Any) -> Plan:
    """Returns what SGLang is to be told.

    Args:
        references: the files of the order's pictures.
    Raises:
        InvalidRequest: the model cannot do it.
    """
    config = server_args.pipeline_config
    videos = config.task_type.data_type().name == "VIDEO"
    _require_kind(order, videos=videos)
    _require_references(order, server_args)
    grain = _grain(config)
    for name, side in (("width", order.width), ("height", order.height)):
        if side % grain:
            raise InvalidRequest(
                f"{name} must be a multiple of {grain} for this model, and {side} is none.",
                param=name,
            )
    sampling: dict[str, Any] = {"prompt": order.prompt, "suppress_logs": True}
    chosen = {
        "width": order.width,
        "height": order.height,
        "num_inference_steps": order.steps,
        "negative_prompt": order.negative_prompt,
        "image_path": [str(path) for path in references],
    }
    sampling |= {name: value for name, value in chosen.items() if value}
    if order.guidance_scale is not None:
        sampling["guidance_scale"] = order.guidance_scale
    if videos:
        sampling |= _length(order, server_args)
    _complete(sampling, order, server_args)
    seed = secrets.randbelow(SEEDS) if order.seed is None else order.seed
    return Plan(sampling, seed)


@contextmanager
def reference_files(order: Diffuse, directory: Path) -> Generator[list[Path]]:
    """Yields files with the order's pictures, as long as they are needed.

    Raises:
        InvalidRequest: one is no picture.
    """
    files: list[Path] = []
    try:
        for index, data in enumerate(order.references):
            try:
                with Image.open(io.BytesIO(data)) as picture:
                    picture.load()
                    suffix = (picture.format or "png").lower()
            except Exception:  # noqa: BLE001  # whatever Pillow raises of what is no picture
                raise InvalidRequest(
                    "The picture cannot be read: it is damaged, or in a format that is not known.",
                    param=_param_of(order, index),
                ) from None
            files.append(directory / f"reference-{index}.{suffix}")
            files[-1].write_bytes(data)
        yield files
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _require_kind(order: Diffuse, *, videos: bool) -> None:
    if (order.format == "mp4") != videos:
        made = "videos" if videos else "pictures"
        raise InvalidRequest(f"This model makes {made}.", param="format")
    for name in () if videos else ("frames", "seconds", "fps"):
        if getattr(order, name):
            raise UnsupportedParameter(f"Pictures have no {name}.", param=name)
    if order.mask:
        raise UnsupportedParameter(
            "This model changes pictures as a whole: a mask has no effect.", param="mask"
        )


def _require_references(order: Diffuse, server_args: Any) -> None:
    config = server_args.pipeline_config
    tasks = config.get_supported_task_types()
    count = len(order.references)
    if not count and all(task.requires_image_input() for task in tasks):
        raise InvalidRequest(
            "This model needs a picture to begin with.",
            param=_param_of(order, 0),
        )
    if count and not any(task.accepts_image_input() for task in tasks):
        raise UnsupportedParameter(
            "This model makes its outputs of the prompt alone, and takes no pictures.",
            param=_param_of(order, 0),
        )
    several = (
        config.task_type.is_image_gen()
        and getattr(server_args.backend, "value", server_args.backend) != "diffusers"
    )
    if count > 1 and not several:
        raise InvalidRequest(
            f"This model takes one picture, not {count}.", param=_param_of(order, 1)
        )


def _param_of(order: Diffuse, index: int) -> str:
    return order.reference_params[index] if index < len(order.reference_params) else PICTURE_PARAM


def _grain(config: Any) -> int:
    """Returns what sides must be multiples of. The models' own figures are known where their
    configurations say them, and SGLang rounds or fails on others in ways of its own.
    """
    vae, model = config.vae_config.arch_config, config.dit_config.arch_config
    spatial = getattr(vae, "scale_factor_spatial", None) or vae.spatial_compression_ratio
    patch: Any = getattr(model, "patch_size", 1)
    across = patch if isinstance(patch, int) else patch[-1]
    grain = int(spatial) * int(across or 1)
    return grain if grain % _GRAIN_PIXELS == 0 else _GRAIN_PIXELS


def _length(order: Diffuse, server_args: Any) -> dict[str, Any]:
    """Returns how many frames a video has, and how many in a second, where the order says."""
    said: dict[str, Any] = {"fps": order.fps} if order.fps else {}
    frames = order.frames
    if not frames and order.seconds:
        fps = order.fps or _defaults(server_args).fps
        frames = max(1, round(order.seconds * fps))
    return said | ({"num_frames": _fitting(frames, server_args.pipeline_config)} if frames else {})


def _fitting(frames: int, config: Any) -> int:
    """Returns the next number of frames that the model can make: SGLang takes the one before, which
    may be a second less.
    """
    vae = config.vae_config
    together = int(vae.arch_config.temporal_compression_ratio)
    for more in range(frames, frames + _FRAMES_APART_MAX):
        whole = not vae.use_temporal_scaling_frames or (more - 1) % together == 0
        if whole and config.adjust_num_frames(more, log_adjustment=False) == more:
            return more
    return frames


def _defaults(server_args: Any) -> Any:
    """Returns the model's own SamplingParams."""
    return _sampling_params(server_args, {"prompt": ""})


def _complete(sampling: dict[str, Any], order: Diffuse, server_args: Any) -> None:
    """Has SGLang complete and check what was asked, and looks at what it does not check."""
    params = _sampling_params(server_args, sampling)
    if "num_inference_steps" in sampling:
        fewest = int(params.min_num_inference_steps)
        sampling["num_inference_steps"] = max(fewest, sampling["num_inference_steps"])
    if order.negative_prompt and not params.should_use_classifier_free_guidance():
        raise UnsupportedParameter(
            f"With a guidance scale of {params.guidance_scale:g} this model does not read the "
            "negative prompt.",
            param="negative_prompt",
        )


def _sampling_params(server_args: Any, sampling: dict[str, Any]) -> Any:
    module: Any = import_module("sglang.multimodal_gen.configs.sample.sampling_params")
    try:
        return module.SamplingParams.from_user_sampling_params_args(
            server_args.model_path, server_args=server_args, **sampling
        )
    except (ValueError, AssertionError, TypeError) as error:
        message = one_line(error)
        param = next((ours for theirs, ours in _FIELDS.items() if message.startswith(theirs)), None)
        raise InvalidRequest(message, param=param) from None
