"""Jobs are told, listed and thrown away, and what was made is fetched, whichever frontend began
them.
"""

from typing import Any, Final

import msgspec

from frontend.api.fields.query import query_of
from frontend.api.launching import Launcher
from frontend.api.outputs.media import send_output
from frontend.api.videos.objects import PREFIX, job_id_in, job_id_of, unknown, video_of
from frontend.http.exchange import Exchange
from protocol.diffusion import Job
from protocol.errors import InvalidRequest, UnsupportedParameter

LISTED_USUAL: Final = 20
LISTED_MAX: Final = 100
"""Bounds the videos of a page, as OpenAI does; LISTED_USUAL of those who say nothing."""

LIST_FIELDS: Final = ("after", "limit", "order")
CONTENT_FIELDS: Final = ("variant",)

_encode: Final = msgspec.json.Encoder().encode


async def retrieve_video(exchange: Exchange, launcher: Launcher) -> None:
    """Answers GET /v1/videos/{video_id}."""
    await _send(exchange, video_of(await _job(exchange, launcher)))


async def delete_video(exchange: Exchange, launcher: Launcher) -> None:
    """Answers DELETE /v1/videos/{video_id}: a job that runs is stopped."""
    job_id = job_id_of(exchange)
    job = await launcher.jobs.forget(job_id)
    if job is None:
        raise unknown(PREFIX + job_id)
    exchange.model = job.model
    await _send(exchange, {"id": PREFIX + job_id, "object": "video.deleted", "deleted": True})


async def list_videos(exchange: Exchange, launcher: Launcher) -> None:
    """Answers GET /v1/videos with a page, the newest first unless asked otherwise."""
    fields = query_of(exchange, LIST_FIELDS)
    limit = _limit(fields.get("limit"))
    order = fields.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be asc or desc.", param="order")
    jobs = sorted(await launcher.jobs.all(), key=_age, reverse=order == "desc")
    first = 0
    if after := fields.get("after"):
        at = {job.job_id: index for index, job in enumerate(jobs)}.get(job_id_in(after))
        if at is None:
            raise InvalidRequest(f"after names no video that is there: {after!r}.", param="after")
        first = at + 1
    page = [video_of(job) for job in jobs[first : first + limit]]
    await _send(
        exchange,
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": first + limit < len(jobs),
        },
    )


async def video_content(exchange: Exchange, launcher: Launcher) -> None:
    """Answers GET /v1/videos/{video_id}/content with the video, or a part of it."""
    variant = query_of(exchange, CONTENT_FIELDS).get("variant", "video")
    if variant != "video":
        raise UnsupportedParameter(
            "variant must be video: no other files are made here.", param="variant"
        )
    await exchange.run_until_client_leaves(_content(exchange, launcher))


async def remix_video(exchange: Exchange, launcher: Launcher) -> None:  # noqa: ARG001 - a Handler
    """Refuses POST /v1/videos/{video_id}/remix."""
    await exchange.read_body()
    raise UnsupportedParameter(
        "Videos are not remixed: the models served here begin with a prompt, or with a picture "
        "(input_reference of POST /v1/videos)."
    )


async def _content(exchange: Exchange, launcher: Launcher) -> None:
    job = await _job(exchange, launcher)
    if job.status == "failed":
        raise InvalidRequest(f"The video was not made: {job.error}", param="video_id")
    if job.status != "completed":
        raise InvalidRequest(
            f"The video is not made yet: it is {job.status} ({job.percent} %).", param="video_id"
        )
    if not job.outputs:
        raise unknown(PREFIX + job.job_id)
    await send_output(exchange, launcher.outputs, job.outputs[0])


async def _job(exchange: Exchange, launcher: Launcher) -> Job:
    job_id = job_id_of(exchange)
    job = await launcher.jobs.find(job_id)
    if job is None:
        raise unknown(PREFIX + job_id)
    exchange.model = job.model
    return job


async def _send(exchange: Exchange, answer: dict[str, Any]) -> None:
    await exchange.send_json(200, _encode(answer))


def _age(job: Job) -> tuple[int, str]:
    return job.created_unix_s, job.job_id


def _limit(text: str | None) -> int:
    if text is None:
        return LISTED_USUAL
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= LISTED_MAX):
        raise InvalidRequest(f"limit must be 1 to {LISTED_MAX}.", param="limit")
    return int(text)
