"""A processor makes pixels of pictures, as a model's encoder takes them, for workers that have the
model; it has the model's processor and none of its weights.
"""

from typing import Final

from protocol.encoding import Encode
from workers.kinds.encoders import PROCESSORS, first_picture, small_pictures
from workers.kinds.kind import Serving, WorkerKind

PIXELS_OF_PICTURES: Final = Serving(
    service="encode",
    stage="process",
    endpoint="dyn://kvmesh.processor.generate",
    takes=(Encode,),
    canaries=small_pictures,
    first_work=first_picture,
)

PROCESSOR: Final = WorkerKind(
    name="processor",
    chosen_by=lambda arguments: arguments.settings.multimodal_processor,
    engines=PROCESSORS,
    serving=PIXELS_OF_PICTURES,
)
