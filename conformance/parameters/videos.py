"""Parameters of /v1/videos, whose answer is the video itself here: what a job tells is the same."""

from typing import Any, Final

from conformance.parameters import drawn, effects
from conformance.parameters.exchange import Answer, Case

BASE: Final[dict[str, Any]] = {
    "prompt": "a red circle",
    "size": "64x64",
    "seconds": "1",
    "response_format": "b64_json",
    "nvext": {"fps": 8, "num_inference_steps": 2, "seed": 5},
}


def _made(answer: Answer) -> dict[str, Any]:
    return answer.body["data"][0]


CASES: Final = (
    Case("model", "films", "the model answers", effects.field_is("model", "films")),
    Case("model", "nobody", "no such model"),
    Case("model", "draws", "it makes pictures"),
    Case("prompt", "a blue square", "another video", drawn.another()),
    Case("input_reference", drawn.plain(drawn.BLUE), "it begins with it", drawn.another()),
    Case("input_reference", "data:image/png;base64,AAAA", "no picture"),
    Case("seconds", "2", "so long", lambda answer, _: _made(answer)["frames"] == 16),
    Case("seconds", "0", "no time"),
    Case("size", "96x32", "of this size", lambda answer, _: _made(answer)["size"] == "96x32"),
    Case("size", "wide", "no size"),
)
