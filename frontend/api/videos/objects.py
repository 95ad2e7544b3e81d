"""Jobs are told as OpenAI's Video objects."""

import re
from typing import Any, Final

from frontend.http.exchange import Exchange
from protocol.diffusion import Job
from protocol.errors import RouteNotFound

PREFIX: Final = "video_"
"""Is what the names of videos begin with, as clients are told them."""

VIDEOS_PATH: Final = "/v1/videos/"

_VIDEO_ID: Final = re.compile(PREFIX + "([0-9a-f]{32})")
_TOLD_CHARS: Final = 64
"""Counts the characters that a client is told of a name of its own."""


def video_of(job: Job) -> dict[str, Any]:
    """Returns the Video object of a job."""
    failed = job.status == "failed"
    return {
        "id": PREFIX + job.job_id,
        "object": "video",
        "model": job.model,
        "status": job.status,
        "progress": job.percent,
        "created_at": job.created_unix_s,
        "completed_at": job.completed_unix_s or None if job.status == "completed" else None,
        "expires_at": job.expires_unix_s or None,
        "prompt": job.prompt,
        "seconds": _seconds(job),
        "size": f"{job.width}x{job.height}" if job.width else "auto",
        "error": {"code": job.error_code, "message": job.error} if failed else None,
        "remixed_from_video_id": None,
    }


def job_id_of(exchange: Exchange) -> str:
    """Returns the name of the job that the path of a request names.

    Raises:
        RouteNotFound: no job has such a name.
    """
    name = exchange.scope["path"].removeprefix(VIDEOS_PATH).partition("/")[0]
    return job_id_in(name)


def job_id_in(video_id: str) -> str:
    """Returns the name of the job whose video has this id.

    Raises:
        RouteNotFound: no job has such a name.
    """
    match = _VIDEO_ID.fullmatch(video_id)
    if match is None:
        raise unknown(video_id)
    return match[1]


def unknown(video_id: str) -> RouteNotFound:
    """Returns the error for a video that nobody knows, or not any more."""
    return RouteNotFound(
        f"There is no video {video_id[:_TOLD_CHARS]!r} here, or not any more.", param="video_id"
    )


def _seconds(job: Job) -> str:
    """Returns how long a video is, or is to be, as OpenAI writes it."""
    made = job.outputs[0] if job.outputs else None
    seconds = made.frames / made.fps if made is not None and made.fps else job.seconds
    return f"{seconds:.3f}".rstrip("0").rstrip(".")
