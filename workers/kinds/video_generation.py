"""A video generation worker makes videos of prompts, and of pictures."""

from typing import Final

from protocol.diffusion import Diffuse
from workers.engine import NO_DEADLINE_UNIX_MS
from workers.kinds.kind import Serving, WorkerKind
from workers.kinds.makers import first_of, makers, sign_of_life

_USUAL: Final = Diffuse(
    "0" * 32,
    "",
    "test",
    NO_DEADLINE_UNIX_MS,
    format="mp4",
    width=256,
    height=256,
    steps=1,
    frames=8,
    fps=8,
    guidance_scale=5.0,
)
"""Is what the reference product asks such workers for signs of life by."""

VIDEOS: Final = Serving(
    service="videos",
    endpoint="dyn://kvmesh.videos.generate",
    takes=(Diffuse,),
    canaries=sign_of_life(_USUAL),
    first_work=first_of(_USUAL),
)

VIDEO_GENERATION: Final = WorkerKind(
    name="video_generation",
    chosen_by=lambda arguments: arguments.settings.video_generation_worker,
    engines=makers(_USUAL),
    serving=VIDEOS,
)
