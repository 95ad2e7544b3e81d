"""A simulated engine cannot do what would take a model."""

from protocol.errors import EngineFault
from protocol.generation import Generate
from protocol.replies import Failed
from protocol.requests import Work
from workers.sim.pictures import mistaken


def refusal_of(request: Work, *, embeds: bool) -> Failed | None:
    """Returns why this request cannot be run; None where it can.

    Args:
        embeds: the engine makes vectors, and no text.
    """
    if isinstance(request, Generate) is embeds:
        does = (
            "makes vectors of texts and generates none"
            if embeds
            else "generates text and makes no vectors"
        )
        return Failed("unsupported_parameter", f"The simulated engine {does}.", "model")
    if not isinstance(request, Generate):
        return None
    for name, asked in (("response_format", request.grammar), ("tools", request.reading)):
        if asked is not None:
            return Failed(
                "unsupported_parameter", f"The simulated engine does not know {name}.", name
            )
    if request.media and (mistake := mistaken(request.media)):
        return Failed(EngineFault.code, f"The request cannot be run: {mistake}.")
    return None
