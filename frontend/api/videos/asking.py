"""What a client says of a video becomes work for a worker of a model, not begun yet."""

import time
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from msgspec.structs import replace

from frontend.api.fields.diffusion import OF_OPERATORS
from frontend.api.fields.form_bodies import FormBodyParser, Upload
from frontend.api.fields.picture_sources import sources_of, uploaded
from frontend.api.launching import Launcher
from frontend.api.videos.conversion import diffuse_of
from frontend.api.videos.schemas import VideoRequest
from frontend.http.exchange import Exchange
from frontend.inflight.diffusion import Diffusion
from frontend.models.services import VIDEOS
from protocol.diffusion import REFERENCES_MAX
from protocol.errors import InvalidRequest

FILE_FIELDS: Final = ("input_reference",)
"""Names the fields that forms have files in."""

JOB_S_MAX: Final = 86_400.0
"""Bounds how long a job may wait for its begin: a full queue of videos of twenty minutes each takes
as long.
"""

REFUSED: Final = {
    **OF_OPERATORS,
    "characters": "videos begin with a picture: use input_reference",
}
"""Maps a field that OpenAI or SGLang knows and that is not honoured here to the reason."""

PARSER: Final = FormBodyParser(VideoRequest, FILE_FIELDS, REFUSED)


async def asked_for(
    exchange: Exchange,
    launcher: Launcher,
    request: VideoRequest,
    uploads: Sequence[Upload],
    *,
    as_job: bool = False,
) -> Diffusion:
    """Returns what has a video made, not started, with a job's name if it is to be one.

    Raises:
        MeshError: it cannot be run.
    """
    entry, asked, lora_name = launcher.models.making(exchange, request, VIDEOS)
    sources = [*uploaded(uploads), *sources_of(request.input_reference, "input_reference")]
    if len(sources) > REFERENCES_MAX:
        raise InvalidRequest(
            f"A request brings at most {REFERENCES_MAX} pictures.", param="input_reference"
        )
    references = await launcher.media.read(sources, exchange.hold) if sources else []
    model = entry.served.card.name
    diffuse = diffuse_of(request, exchange, references, model=model, lora_name=lora_name)
    if exchange.is_large:
        brought_bytes = sum(map(len, diffuse.references))
        await exchange.keep_only(replace(diffuse, references=[]), beside_bytes=brought_bytes)
    if as_job:
        now_unix_s = time.time()
        diffuse = replace(
            diffuse,
            job_id=diffuse.request_id,
            job_begun_unix_s=int(now_unix_s),
            deadline_unix_ms=int((now_unix_s + JOB_S_MAX) * 1000),
        )
    exchange.prepared_at = perf_counter()
    exchange.work = diffusion = launcher.diffusion(entry, diffuse, asked)
    return diffusion
