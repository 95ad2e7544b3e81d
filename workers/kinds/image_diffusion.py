"""An image diffusion worker makes pictures of prompts, and of other pictures."""

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
    width=512,
    height=512,
    steps=1,
    guidance_scale=7.5,
)
"""Is what the reference product asks such workers for signs of life by."""

PICTURES: Final = Serving(
    service="images",
    endpoint="dyn://kvmesh.images.generate",
    takes=(Diffuse,),
    canaries=sign_of_life(_USUAL),
    first_work=first_of(_USUAL),
)

IMAGE_DIFFUSION: Final = WorkerKind(
    name="image_diffusion",
    chosen_by=lambda arguments: arguments.settings.image_diffusion_worker,
    engines=makers(_USUAL),
    serving=PICTURES,
)
