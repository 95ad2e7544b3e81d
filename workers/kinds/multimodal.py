"""A multimodal worker runs prompts whose pictures others have encoded: the whole of them, or one
stage. Where nobody encodes for it, it sees for itself like any other worker.
"""

from dataclasses import replace
from typing import Final

from workers.engine import EngineFacts
from workers.kinds.arguments import Arguments
from workers.kinds.engines import STAGE_FLAG
from workers.kinds.kind import EngineChoice, Serving, WorkerKind
from workers.kinds.prefill import PREFILL, PROMPTS
from workers.kinds.text import TEXT

_BOTH_STAGES: Final = "pd"
"""Is the newer spelling of a worker that does not divide its requests."""


def _chosen(arguments: Arguments) -> bool:
    """Tells whether the flag asks for it, or its newer spelling."""
    settings = arguments.settings
    return settings.multimodal_worker or settings.dedicated_mm_encoder


def _fetching(serving: Serving) -> Serving:
    return replace(serving, fetches_encodings=True)


def _found(facts: EngineFacts) -> Serving:
    return _fetching(TEXT.serving_of(facts))


def _undivided(choice: EngineChoice) -> EngineChoice:
    """Returns the choice of an engine that is not told of a stage which it has no word for."""

    def plain(arguments: Arguments) -> Arguments:
        both = arguments.told(STAGE_FLAG) == _BOTH_STAGES
        return arguments.without(STAGE_FLAG) if both else arguments

    return EngineChoice(
        lambda kind, arguments: choice.make(kind, plain(arguments)),
        choice.help_text,
        lambda arguments: choice.forks(plain(arguments)),
    )


MULTIMODAL: Final = WorkerKind(
    name="multimodal",
    chosen_by=_chosen,
    engines={name: _undivided(choice) for name, choice in TEXT.engines.items()},
    serving=TEXT.serving and _fetching(TEXT.serving),
    found=_found,
)

MULTIMODAL_PREFILL: Final = WorkerKind(
    name="multimodal prefill",
    chosen_by=lambda arguments: _chosen(arguments) and PREFILL.chosen_by(arguments),
    engines=PREFILL.engines,
    serving=_fetching(PROMPTS),
)
