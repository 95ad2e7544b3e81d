"""What schemathesis sends reaches the models, and its answers are short: without this nearly every
request would name no model that exists.

Only values of the right kind are changed: what is wrong stays wrong.
"""

import os
from typing import Any, Final

import schemathesis

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
    """Name a model that is served, and cap what is generated."""
    body = case.body
    if not isinstance(body, dict):
        return
    path = case.operation.path
    # No worker of the stack makes these, and a request that names no model is a 503 then.
    if isinstance(body.get("model"), str) or path.startswith(("/v1/images/", "/v1/videos")):
        body["model"] = os.environ[
            "KVMESH_EMBEDDING_MODEL" if path in _EMBEDDING_PATHS else "KVMESH_CHAT_MODEL"
        ]
    if path in _LENGTHS and body.get(_LENGTHS[path]) is None:
        body[_LENGTHS[path]] = CAPS["max_tokens"]
    _cap(body)
    if path == "/generate" and body.get("sampling_params") is None:
        body["sampling_params"] = {"max_new_tokens": CAPS["max_new_tokens"]}
    parameters = body.get("sampling_params")
    for each in parameters if isinstance(parameters, list) else [parameters]:
        if isinstance(each, dict):
            each["max_new_tokens"] = each.get("max_new_tokens") or CAPS["max_new_tokens"]
            _cap(each)


def _cap(fields: dict[str, Any]) -> None:
    for name, most in CAPS.items():
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > most:
            fields[name] = most
