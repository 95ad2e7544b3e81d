"""Parameters of /v1/images/generations."""

from typing import Any, Final

from conformance.parameters import drawn, effects
from conformance.parameters.exchange import Case

BASE: Final[dict[str, Any]] = {
    "prompt": "a red circle",
    "size": "64x64",
    "response_format": "b64_json",
    "num_inference_steps": 3,
    "seed": 5,
}

LOSSY: Final[dict[str, Any]] = {"output_format": "jpeg"}
STREAMED: Final[dict[str, Any]] = {"stream": True}


def common(kind: str) -> tuple[Case, ...]:
    """Those that pictures have in common, be they made or changed.

    Args:
        kind: the beginning of the names of events.
    """
    return (
        Case("model", "draws", "the model answers", drawn.pictures(1)),
        Case("model", "nobody", "no such model"),
        Case("model", "kvmesh-demo", "it makes texts"),
        Case("prompt", "a blue square", "another picture", drawn.another()),
        Case("n", 3, "so many, no two alike", drawn.pictures(3)),
        Case("n", 11, "too many"),
        Case("size", "96x32", "of this size", drawn.png_of(96, 32)),
        Case("size", "wide", "no size"),
        Case("response_format", "url", "links", drawn.links),
        Case("output_format", "jpeg", "a JPEG", drawn.of_format("jpeg")),
        Case("output_format", "webp", "a WebP", drawn.of_format("webp")),
        Case("output_compression", 10, "a smaller file", drawn.smaller_file, LOSSY),
        Case("output_compression", 10, "a PNG loses nothing"),
        Case("quality", "low", "a smaller file", drawn.smaller_file, LOSSY),
        Case("quality", "high", "so the answer says", effects.field_is("quality", "high")),
        Case("background", "opaque", "all are", effects.field_is("background", "opaque")),
        Case("background", "transparent", "diffusion models make whole pictures"),
        Case("stream", True, "events", drawn.events_named(kind)),
        Case("partial_images", 2, "on the way", drawn.events_named(kind, partial=2), STREAMED),
        Case("partial_images", 2, "only of a stream"),
        Case("user", "ada", "nothing is kept or passed on"),
    )


CASES: Final = (
    *common("image_generation"),
    Case("moderation", "low", "nothing is moderated"),
    Case("style", "vivid", "a picture is as its prompt says"),
)
