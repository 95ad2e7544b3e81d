"""POST /v1/videos begins a job, or answers with the video itself once it is made; POST
/v1/videos/stream tells meanwhile how far it is.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from frontend.api.fields.diffusion import names_of
from frontend.api.fields.form_bodies import Upload
from frontend.api.fields.param_names import params_named
from frontend.api.launching import Launcher
from frontend.api.videos.answers import VideoAnswer
from frontend.api.videos.asking import PARSER, asked_for
from frontend.api.videos.conversion import check_video
from frontend.api.videos.objects import video_of
from frontend.api.videos.schemas import VideoRequest
from frontend.http.exchange import Exchange
from protocol.diffusion import Diffused
from protocol.errors import EngineFault

_encode: Final = msgspec.json.Encoder().encode


async def create_video(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to POST /v1/videos."""
    request, uploads = await PARSER.read(exchange)
    exchange.model = request.model or ""
    check_video(request, streams=False)
    if request.response_format is None:
        answering = _begin(exchange, launcher, request, uploads)
    else:
        answering = _make(exchange, launcher, request, uploads)
    del request, uploads  # which the answer lets go as soon as it can
    await exchange.run_until_client_leaves(answering)


async def stream_video(exchange: Exchange, launcher: Launcher) -> None:
    """Answers one request to POST /v1/videos/stream."""
    request, uploads = await PARSER.read(exchange)
    exchange.model, exchange.streams = request.model or "", True
    check_video(request, streams=True)
    answering = _make(exchange, launcher, request, uploads)
    del request, uploads
    await exchange.run_until_client_leaves(answering)


async def _begin(
    exchange: Exchange, launcher: Launcher, request: VideoRequest, uploads: Sequence[Upload]
) -> None:
    """Answers as soon as a worker has the job in its queue."""
    diffusion = await asked_for(exchange, launcher, request, uploads, as_job=True)
    job = await launcher.jobs.begin(diffusion)
    await exchange.send_json(200, _encode(video_of(job)))


async def _make(
    exchange: Exchange, launcher: Launcher, request: VideoRequest, uploads: Sequence[Upload]
) -> None:
    """Answers with the video, which is made no more when its client leaves."""
    streams, as_url = exchange.streams, request.response_format != "b64_json"
    diffusion = await asked_for(exchange, launcher, request, uploads)
    names = names_of(request)
    del request, uploads
    answer = VideoAnswer(exchange, launcher.outputs, diffusion.request, as_url=as_url)
    try:
        with params_named(names):
            await diffusion.start()
            if streams:
                await answer.show()
            async for progress in diffusion.progress():
                if streams:
                    await answer.show(progress)
        made = diffusion.made
        assert made is not None, "it has ended"
        _check(made)
        launcher.note_made(diffusion.request.model, made)
        await (answer.end if streams else answer.send)(made)
    finally:
        diffusion.close()


def _check(made: Diffused) -> None:
    if len(made.outputs) != 1:
        raise EngineFault("The worker did not make one video.")
