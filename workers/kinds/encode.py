"""An encode worker makes vectors of pictures, for workers that run the prompts they are in."""

from typing import Final

from protocol.encoding import Encode
from workers.kinds.arguments import Arguments
from workers.kinds.encoders import ENCODERS, first_picture, small_pictures
from workers.kinds.engines import STAGE_FLAG
from workers.kinds.kind import Serving, WorkerKind

VECTORS_OF_PICTURES: Final = Serving(
    service="encode",
    stage="encode",
    endpoint="dyn://kvmesh.encode.generate",
    takes=(Encode,),
    canaries=small_pictures,
    first_work=first_picture,
)


def _chosen(arguments: Arguments) -> bool:
    """Tells whether the flag asks for it, or its newer spelling."""
    settings = arguments.settings
    return settings.multimodal_encode_worker or (
        settings.enable_multimodal and arguments.told(STAGE_FLAG) == "encode"
    )


ENCODE: Final = WorkerKind(
    name="encode", chosen_by=_chosen, engines=ENCODERS, serving=VECTORS_OF_PICTURES
)
