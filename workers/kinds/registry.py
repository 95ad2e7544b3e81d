"""The table of worker types has one row for each. A type is one file of this folder and one row
here.
"""

from typing import Final

from workers.kinds.arguments import Arguments
from workers.kinds.embedding import EMBEDDING
from workers.kinds.encode import ENCODE
from workers.kinds.follower import follower_of, follows
from workers.kinds.image_diffusion import IMAGE_DIFFUSION
from workers.kinds.kind import WorkerKind
from workers.kinds.multimodal import MULTIMODAL, MULTIMODAL_PREFILL
from workers.kinds.prefill import PREFILL
from workers.kinds.processor import PROCESSOR
from workers.kinds.text import TEXT
from workers.kinds.text_diffusion import TEXT_DIFFUSION
from workers.kinds.video_generation import VIDEO_GENERATION

KINDS: Final[list[WorkerKind]] = [
    EMBEDDING,
    IMAGE_DIFFUSION,
    VIDEO_GENERATION,
    PROCESSOR,
    ENCODE,
    MULTIMODAL_PREFILL,
    MULTIMODAL,
    TEXT_DIFFUSION,
    PREFILL,
    TEXT,
]
"""The first kind whose `chosen_by` says yes is a worker's kind; the last one always does."""


def kind_for(arguments: Arguments) -> WorkerKind:
    """Returns the kind of worker that these arguments ask for."""
    kind = next(kind for kind in KINDS if kind.chosen_by(arguments))
    return follower_of(kind) if follows(arguments) else kind
