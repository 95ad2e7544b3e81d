"""The endpoints that make videos take these bodies; names below a comment are extensions."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from frontend.api.fields.diffusion import DiffusionFields, DiffusionNvExt, Prompt
from protocol.diffusion import FRAMES_MAX

FPS_MAX = 240
"""Bounds the frames of a second: cameras for slow motion make so many."""

Fps = Annotated[int, Meta(ge=1, le=FPS_MAX)]
FrameCount = Annotated[int, Meta(ge=1, le=FRAMES_MAX)]
Seconds = Annotated[float, Meta(gt=0, le=3_600)] | Annotated[str, Meta(max_length=16)]
"""Seconds are a number, or as OpenAI's clients write one: "4"."""


class VideoNvExt(DiffusionNvExt, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A VideoNvExt holds what clients of the reference product say of frames, steps and route."""

    fps: Fps | None = None
    num_frames: FrameCount | None = None


class VideoRequest(DiffusionFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A VideoRequest is the body of POST /v1/videos and /v1/videos/stream, a form or JSON."""

    seconds: Seconds | None = None
    """Says how long it is, 4 seconds if nothing else does."""
    # Extensions
    response_format: Literal["url", "b64_json"] | None = None
    """Has /v1/videos answer with the video itself, once it is made, instead of a job."""
    output_format: Literal["mp4"] | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    """Can only be 1."""
    stream: bool | None = None
    """Says nothing that the path does not say."""
    fps: Fps | None = None
    num_frames: FrameCount | None = None
    """Says how long it is by frames, instead of `seconds`."""
    nvext: VideoNvExt | None = None


class RemixRequest(Struct, frozen=True, kw_only=True):
    """A RemixRequest is the body of POST /v1/videos/{video_id}/remix, which is refused."""

    prompt: Prompt
