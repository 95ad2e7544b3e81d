"""The endpoints that make pictures take these bodies; names below a comment are extensions."""

from typing import Annotated, Literal

from msgspec import Meta

from frontend.api.fields.diffusion import DiffusionFields, PictureReference, PictureUrl
from protocol.diffusion import OUTPUTS_MAX, PREVIEWS_MAX, REFERENCES_MAX

Pictures = Annotated[list[PictureUrl | PictureReference], Meta(max_length=REFERENCES_MAX)]


class ImageFields(DiffusionFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """ImageFields are what requests to make and to change pictures have in common."""

    n: Annotated[int, Meta(ge=1, le=OUTPUTS_MAX)] | None = None
    quality: Literal["auto", "low", "medium", "high", "standard", "hd"] | None = None
    """Says how well JPEG and WebP keep the picture, where output_compression does not say it;
    how well it is drawn goes by num_inference_steps.
    """
    response_format: Literal["url", "b64_json"] | None = None
    """Is url unless something else is said; in streams b64_json."""
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    """Is the quality of JPEG and WebP in per cent; PNG loses nothing."""
    background: Literal["auto", "opaque", "transparent"] | None = None
    """Cannot be transparent: what diffusion models make has no holes."""
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=PREVIEWS_MAX)] | None = None
    """Says how many pictures a stream shows on the way to each."""


class ImageRequest(ImageFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ImageRequest is the body of POST /v1/images/generations."""

    moderation: Literal["low", "auto"] | None = None
    """Has no effect: nothing is moderated here."""
    style: Literal["vivid", "natural"] | None = None
    """Has no effect, and the answer's header says so: the prompt says what a picture is like."""


class ImageEditRequest(ImageFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An ImageEditRequest is the body of POST /v1/images/edits, a form or JSON."""

    image: PictureUrl | PictureReference | Pictures | None = None
    """Names the pictures to be changed; in a form, files."""
    images: Pictures | None = None
    """Names further ones, as OpenAI's JSON does."""
    mask: PictureUrl | PictureReference | None = None
    """Says by what is transparent in it where the first picture is changed."""
    input_fidelity: Literal["high", "low"] | None = None
    """Has no effect, and the answer's header says so if it is high."""
