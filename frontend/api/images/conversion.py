"""A request for pictures becomes what a worker is asked for."""

from typing import Final

from frontend.api.fields.diffusion import size_of, steering_of
from frontend.api.fields.sampling import priority_of
from frontend.api.images.references import References
from frontend.api.images.schemas import ImageEditRequest, ImageFields, ImageRequest
from frontend.http.exchange import Exchange
from frontend.http.ignored import REFUSING, Ignored
from protocol.diffusion import Diffuse
from protocol.errors import InvalidRequest, UnsupportedParameter

QUALITIES: Final = {"low": 35, "medium": 55, "high": 90, "hd": 90}
"""Maps a quality to that of JPEG and WebP in per cent, as SGLang does; others keep all."""

_TOLD: Final = {"low": "low", "medium": "medium", "standard": "medium"}


def check_images(request: ImageFields, ignored: Ignored = REFUSING) -> None:
    """Refuses what cannot be honoured of a request for pictures.

    Args:
        ignored: takes what has no effect.
    Raises:
        InvalidRequest, UnsupportedParameter: naming the field.
    """
    if request.background == "transparent":
        raise UnsupportedParameter(
            "background cannot be transparent: the models served here make whole pictures.",
            param="background",
        )
    if request.output_format in (None, "png") and request.output_compression not in (None, 100):
        raise InvalidRequest(
            "output_compression is of jpeg and webp; a PNG loses nothing.",
            param="output_compression",
        )
    if request.partial_images and not request.stream:
        raise InvalidRequest(
            "partial_images is only allowed when stream is true.", param="partial_images"
        )
    if isinstance(request, ImageRequest) and request.style is not None:
        ignored.add("style", "a picture is as its prompt says")
    if isinstance(request, ImageEditRequest) and request.input_fidelity == "high":
        ignored.add("input_fidelity", "the models served here have no such degrees")


def diffuse_of(
    request: ImageFields,
    exchange: Exchange,
    references: References,
    *,
    model: str,
    lora_name: str | None,
) -> Diffuse:
    """Returns what a worker of that model is asked for.

    Raises:
        InvalidRequest: the size is none, or two fields contradict each other.
    """
    width, height = size_of(request)
    steering = steering_of(request)
    mask = references.mask
    return Diffuse(
        request_id=exchange.request_id,
        model=model,
        prompt=request.prompt,
        deadline_unix_ms=exchange.deadline_unix_ms,
        format=request.output_format or "png",
        count=request.n or 1,
        width=width,
        height=height,
        steps=steering.steps,
        guidance_scale=steering.guidance_scale,
        negative_prompt=steering.negative_prompt,
        seed=steering.seed,
        compression=compression_of(request),
        previews=request.partial_images or 0,
        references=[item.data for item in references.pictures],
        reference_params=[item.param for item in references.pictures],
        mask=b"" if mask is None else mask.data,
        priority=priority_of(request.priority),
        lora_name=lora_name,
        traceparent=exchange.traceparent,
        tracestate=exchange.tracestate,
    )


def compression_of(request: ImageFields) -> int:
    """Returns the quality of JPEG and WebP in per cent."""
    if request.output_compression is not None:
        return request.output_compression
    return QUALITIES.get(request.quality or "auto", 100)


def quality_told(request: ImageFields) -> str:
    """Returns the quality as answers tell it, which know three."""
    return _TOLD.get(request.quality or "auto", "high")
