"""What schemathesis sends reaches the models, and its answers are short: without this nearly every
request would name no model that exists.

Only values of the right kind are changed: what is wrong stays wrong.
"""

import os
import re
from collections.abc import Mapping
from typing import Any, Final

import schemathesis

_MAKING_PATHS: Final = ("/v1/images/", "/v1/videos")
_EMBEDDING_PATHS: Final = ("/v1/embeddings", "/v1/rerank", "/v1/score", "/rerank", "/score")

CAPS: Final = {
    "max_tokens": 8,
    "max_completion_tokens": 8,
    "max_output_tokens": 8,
    "max_new_tokens": 8,
    "n": 2,
    "best_of": 2,
}
"""Two cores generate some hundred tokens a second; an answer may otherwise be as long as the
context.
"""

_LENGTHS: Final = {
    "/v1/chat/completions": "max_tokens",
    "/v1/completions": "max_tokens",
    "/v1/responses": "max_output_tokens",
}
"""The field without which an answer ends where the model says so."""

SIDE_MAX: Final = 64
STEERED: Final = {"num_inference_steps": 4, "num_frames": 8, "fps": 8}
MADE_CAPS: Final = {"width": SIDE_MAX, "height": SIDE_MAX, "seconds": 1, **STEERED}
"""Of what is made: larger or longer it takes seconds, and whatever waits behind it too."""

_VIDEO_ID: Final = re.compile(r"video_[0-9a-f]{32}")
_MEDIA: Final = re.compile(r"/v1/media/([0-9a-f]+)")

made: Final[dict[str, str]] = {}
"""Parameter of a path → an id that stands for something that was made."""

ITEMS_MAX: Final = 20
"""Of a generated list.

Lists as long as the document allows, of ten thousand messages, keep schemathesis busy for hours.
"""


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: Any) -> None:
    """Shorten the lists in the document."""
    if isinstance(raw_schema, dict):
        if isinstance(raw_schema.get("maxItems"), int):
            raw_schema["maxItems"] = min(raw_schema["maxItems"], ITEMS_MAX)
        for each in raw_schema.values():
            before_load_schema(context, each)
    elif isinstance(raw_schema, list):
        for each in raw_schema:
            before_load_schema(context, each)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:  # noqa: ARG001 -- the hook's own names
    """Name a model that is served and what was made before, and cap what is generated."""
    for name, value in (case.path_parameters or {}).items():
        if name in made and _chosen(value):
            case.path_parameters[name] = made[name]
    body = case.body
    if not isinstance(body, dict):
        return
    path = case.operation.path
    if isinstance(body.get("model"), str):
        body["model"] = os.environ[_model_of(path)]
    if path in _LENGTHS and body.get(_LENGTHS[path]) is None:
        body[_LENGTHS[path]] = CAPS["max_tokens"]
    if path.startswith(_MAKING_PATHS):
        _cap_made(path, body)
    _cap(body)
    if path == "/generate" and body.get("sampling_params") is None:
        body["sampling_params"] = {"max_new_tokens": CAPS["max_new_tokens"]}
    parameters = body.get("sampling_params")
    for each in parameters if isinstance(parameters, list) else [parameters]:
        if isinstance(each, dict):
            each["max_new_tokens"] = each.get("max_new_tokens") or CAPS["max_new_tokens"]
            _cap(each)


def _cap(fields: dict[str, Any]) -> None:
    _bound(fields, CAPS)


def _bound(fields: dict[str, Any], caps: Mapping[str, int]) -> None:
    for name, most in caps.items():
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > most:
            fields[name] = most


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:  # noqa: ARG001 -- the hook's own names
    """Remember what was made, so that it is asked for."""
    if response.status_code != 200 or case.method.upper() != "POST":
        return
    if case.operation.path == "/v1/videos" and (found := _VIDEO_ID.search(response.text)):
        made["video_id"] = found[0]
    if case.operation.path.startswith("/v1/images/") and (found := _MEDIA.search(response.text)):
        made["output_id"] = found[1]


def _model_of(path: str) -> str:
    """The environment variable that names the model of a path."""
    if path.startswith("/v1/images/"):
        return "KVMESH_IMAGE_MODEL"
    if path.startswith("/v1/videos"):
        return "KVMESH_VIDEO_MODEL"
    return "KVMESH_EMBEDDING_MODEL" if path in _EMBEDDING_PATHS else "KVMESH_CHAT_MODEL"


def _chosen(value: Any) -> bool:
    """Whether a value gives way to one that exists; half of them do, the same in every run."""
    return len(str(value)) % 2 == 0


def _cap_made(path: str, body: dict[str, Any]) -> None:
    """Cap what is made, which is large unless something is said of it."""
    if isinstance(body.get("nvext"), dict):
        _bound(body["nvext"], STEERED)
    sized = any(body.get(name) is not None for name in ("width", "height"))
    if not sized and body.get("size") in (None, "auto"):
        body["size"] = f"{SIDE_MAX}x{SIDE_MAX}"
    if path.startswith("/v1/videos") and body.get("seconds") is None:
        body["num_frames"] = body.get("num_frames") or STEERED["num_frames"]
    _bound(body, MADE_CAPS)
