"""Requests for pictures and for videos have some fields in common."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, Struct

from frontend.api.fields.nvext import Label, NvExt, wishes
from frontend.api.fields.schemas import Model, Priority
from frontend.http.exchange import Exchange
from protocol.diffusion import PROMPT_CHARS_MAX, SIDE_PIXELS_MAX, STEPS_MAX
from protocol.errors import InvalidRequest
from protocol.limits import DP_RANKS_MAX

Prompt = Annotated[str, Meta(min_length=1, max_length=PROMPT_CHARS_MAX)]
NegativePrompt = Annotated[str, Meta(max_length=PROMPT_CHARS_MAX)]
Steps = Annotated[int, Meta(ge=1, le=STEPS_MAX)]
GuidanceScale = Annotated[float, Meta(ge=0, le=1_000)]
DiffusionSeed = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
"""A DiffusionSeed makes the same pictures of the same request; -1 draws one by lot."""
PictureUrl = Annotated[str, Meta(min_length=1)]
"""A PictureUrl is a data URL, one of http or https, or base64 alone."""
Side = Annotated[int, Meta(ge=1, le=SIDE_PIXELS_MAX)]

_SIZE: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)

_NAMES: Final = {"steps": "num_inference_steps", "frames": "num_frames"}
_NAMES_OF_SIZE: Final = {**_NAMES, "width": "size", "height": "size"}

_OWN_FILES: Final = "files on the server are its operator's matter"
OF_OPERATORS: Final = {
    "output_path": _OWN_FILES,
    "upscaling_model_path": _OWN_FILES,
    "perf_dump_path": _OWN_FILES,
    "diffusers_kwargs": "what runs inside the engine is its operator's matter",
    "lora_name": "name the adapter in lora_path",
}
"""Maps a field that SGLang knows of pictures and videos, and that is not honoured here, to why."""


class PictureReference(Struct, frozen=True, forbid_unknown_fields=True):
    """A PictureReference names a picture as an object."""

    image_url: PictureUrl


class DiffusionNvExt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A DiffusionNvExt holds what clients of the reference product say of steps and route."""

    negative_prompt: NegativePrompt | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: GuidanceScale | None = None
    seed: DiffusionSeed | None = None
    backend_instance_id: Label | None = None
    decode_worker_id: Label | None = None
    """Means the same as `backend_instance_id`."""
    dp_rank: Annotated[int, Meta(ge=0, lt=DP_RANKS_MAX)] | None = None


class DiffusionFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """DiffusionFields are what requests for pictures and for videos have in common."""

    prompt: Prompt
    model: Model | None = None
    """May be left out where one model makes what is asked for."""
    size: Annotated[str, Meta(max_length=16)] | None = None
    """Is WIDTHxHEIGHT in pixels; "auto" leaves it to the model."""
    user: Annotated[str, Meta(max_length=1_024)] | None = None
    """Has no effect: nothing is kept by users."""
    # Extensions
    input_reference: (
        PictureUrl | PictureReference | Annotated[list[PictureUrl], Meta(max_length=16)] | None
    ) = None
    """Is a picture to begin with."""
    width: Side | None = None
    height: Side | None = None
    negative_prompt: NegativePrompt | None = None
    """Says what is not to be seen."""
    num_inference_steps: Steps | None = None
    guidance_scale: GuidanceScale | None = None
    seed: DiffusionSeed | None = None
    priority: Priority | None = None
    lora_path: Label | None = None
    """Names a LoRA adapter, by the name it was loaded under."""
    nvext: DiffusionNvExt | None = None


class Steering(NamedTuple):
    """A Steering says how something is made, whichever fields said it; None and empty: as the
    worker likes.
    """

    negative_prompt: str
    steps: int
    guidance_scale: float | None
    seed: int | None


def steering_of(request: DiffusionFields) -> Steering:
    """Returns how something is to be made.

    Raises:
        InvalidRequest: a field and the one of that name in nvext say different things.
    """
    seed = _either(request, "seed")
    return Steering(
        _either(request, "negative_prompt") or "",
        _either(request, "num_inference_steps") or 0,
        _either(request, "guidance_scale"),
        None if seed == -1 else seed,
    )


def size_of(request: DiffusionFields) -> tuple[int, int]:
    """Returns width and height in pixels, 0 for what the worker chooses.

    Raises:
        InvalidRequest: it is no size, or said in two ways.
    """
    if request.size in (None, "auto"):
        if (request.width is None) != (request.height is None):
            missing = "width" if request.width is None else "height"
            raise InvalidRequest("width and height go together.", param=missing)
        return request.width or 0, request.height or 0
    if request.width is not None or request.height is not None:
        raise InvalidRequest("size says what width and height say.", param="size")
    match = _SIZE.fullmatch(request.size)
    width, height = map(int, match.groups()) if match else (0, 0)
    if not match or max(width, height) > SIDE_PIXELS_MAX:
        raise InvalidRequest(
            (
                "size must be WIDTHxHEIGHT in pixels, as 1024x1024, each at most "
                f"{SIDE_PIXELS_MAX}, or auto."
            ),
            param="size",
        )
    return width, height


def names_of(request: DiffusionFields) -> Mapping[str, str]:
    """Returns how the client calls what a worker complains of by its name in a Diffuse."""
    return _NAMES if request.size is None else _NAMES_OF_SIZE


def routing_of(request: DiffusionFields, exchange: Exchange) -> NvExt:
    """Returns what body and headers ask of the router.

    Raises:
        InvalidRequest: a header's value is not one of its field.
    """
    said = request.nvext
    asked = (
        None
        if said is None
        else NvExt(
            backend_instance_id=said.backend_instance_id,
            decode_worker_id=said.decode_worker_id,
            dp_rank=said.dp_rank,
        )
    )
    return wishes(asked, exchange.routing_headers)


def _either(request: DiffusionFields, name: str) -> Any:
    """Returns what the field of that name says, or the one in nvext."""
    plain = getattr(request, name)
    said = None if request.nvext is None else getattr(request.nvext, name)
    if plain is not None and said is not None and plain != said:
        raise InvalidRequest(f"{name} and nvext.{name} differ.", param=f"nvext.{name}")
    return said if plain is None else plain
