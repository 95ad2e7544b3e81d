"""A text diffusion worker generates text by diffusion, a block of tokens at a time.

It serves what any text worker serves, and is asked for the same signs of life.
"""

from typing import Final

from workers.kinds.engines import sglang, simulated
from workers.kinds.kind import WorkerKind
from workers.kinds.text import GENERATIONS

TEXT_DIFFUSION: Final = WorkerKind(
    name="text diffusion",
    chosen_by=lambda arguments: bool(arguments.told("--dllm-algorithm")),
    engines={"sglang": sglang(), "sim": simulated()},
    serving=GENERATIONS,
)
