"""A request for a video becomes what a worker is asked for."""

import re
from typing import Final

from frontend.api.fields.diffusion import size_of, steering_of
from frontend.api.fields.sampling import priority_of
from frontend.api.videos.schemas import VideoRequest
from frontend.http.exchange import Exchange
from frontend.media.part import MediaItem
from protocol.diffusion import FRAMES_MAX, Diffuse
from protocol.errors import InvalidRequest, UnsupportedParameter

SECONDS_USUAL: Final = 4.0
"""Is the length of a video of which nothing is said, with OpenAI and the reference product too."""

FPS_ASSUMED: Final = 24
"""Bounds with FRAMES_MAX the seconds of a video whose model chooses the frames of one."""

_SECONDS: Final = re.compile(r"\d{1,4}(\.\d{1,6})?", re.ASCII)


def check_video(request: VideoRequest, *, streams: bool) -> None:
    """Refuses what cannot be honoured of a request for a video.

    Raises:
        UnsupportedParameter: naming the field.
    """
    if request.n not in (None, 1):
        raise UnsupportedParameter("n must be 1: a request makes one video.", param="n")
    if request.stream and not streams:
        raise UnsupportedParameter(
            "stream is not supported here: POST to /v1/videos/stream.", param="stream"
        )


def length_of(request: VideoRequest) -> tuple[float, int, int]:
    """Returns the seconds of a video, its frames, and those of a second; 0 of the latter two for
    what the worker chooses.

    Raises:
        InvalidRequest: it is too long, no number, or said in two ways.
    """
    fps, frames = _either(request, "fps"), _either(request, "num_frames")
    seconds = _seconds(request)
    if frames:
        if seconds and fps and round(seconds * fps) != frames:
            raise InvalidRequest(
                f"seconds times fps is not num_frames, which is {frames}.", param="seconds"
            )
        return (frames / fps if fps else seconds), frames, fps
    seconds = seconds or SECONDS_USUAL
    if seconds * (fps or FPS_ASSUMED) > FRAMES_MAX:
        raise InvalidRequest(
            f"A video has at most {FRAMES_MAX} frames: {FRAMES_MAX / (fps or FPS_ASSUMED):g} "
            f"seconds of {fps or FPS_ASSUMED} a second.",
            param="seconds",
        )
    return seconds, 0, fps


def diffuse_of(
    request: VideoRequest,
    exchange: Exchange,
    references: list[MediaItem],
    *,
    model: str,
    lora_name: str | None,
) -> Diffuse:
    """Returns what a worker of that model is asked for, which is no job.

    Raises:
        InvalidRequest: size or length is none, or two fields contradict each other.
    """
    width, height = size_of(request)
    seconds, frames, fps = length_of(request)
    steering = steering_of(request)
    return Diffuse(
        request_id=exchange.request_id,
        model=model,
        prompt=request.prompt,
        deadline_unix_ms=exchange.deadline_unix_ms,
        format="mp4",
        width=width,
        height=height,
        steps=steering.steps,
        frames=frames,
        fps=fps,
        seconds=seconds,
        guidance_scale=steering.guidance_scale,
        negative_prompt=steering.negative_prompt,
        seed=steering.seed,
        references=[item.data for item in references],
        reference_params=[item.param for item in references],
        priority=priority_of(request.priority),
        lora_name=lora_name,
        traceparent=exchange.traceparent,
        tracestate=exchange.tracestate,
    )


def _seconds(request: VideoRequest) -> float:
    """Returns what a request says of its seconds; 0 if that is nothing."""
    seconds = request.seconds
    if isinstance(seconds, str):
        if not _SECONDS.fullmatch(seconds) or not 0 < float(seconds) <= 3_600:
            raise InvalidRequest(
                f'seconds must be a positive number, as "4", got {seconds[:16]!r}.', param="seconds"
            )
        return float(seconds)
    return seconds or 0.0


def _either(request: VideoRequest, name: str) -> int:
    """Returns what the field of that name says, or the one in nvext; 0 if neither says anything."""
    plain: int | None = getattr(request, name)
    said: int | None = None if request.nvext is None else getattr(request.nvext, name)
    if plain is not None and said is not None and plain != said:
        raise InvalidRequest(f"{name} and nvext.{name} differ.", param=f"nvext.{name}")
    return plain or said or 0
