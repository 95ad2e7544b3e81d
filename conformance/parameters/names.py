"""The names come from the installed client's own types, so that none is forgotten when OpenAI adds
one.
"""

from typing import Any, Final, get_args

from openai.types import (
    completion_create_params,
    embedding_create_params,
    image_edit_params,
    image_generate_params,
    video_create_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import response_create_params


def _names(kind: Any) -> frozenset[str]:
    """Of a TypedDict, or of a union of them."""
    return frozenset(name for each in get_args(kind) or (kind,) for name in each.__annotations__)


NAMES: Final = {
    "/v1/chat/completions": _names(chat_create_params.CompletionCreateParams),
    "/v1/completions": _names(completion_create_params.CompletionCreateParams),
    "/v1/embeddings": _names(embedding_create_params.EmbeddingCreateParams),
    "/v1/responses": _names(response_create_params.ResponseCreateParams),
    "/v1/images/generations": _names(image_generate_params.ImageGenerateParams),
    "/v1/images/edits": _names(image_edit_params.ImageEditParams),
    "/v1/videos": _names(video_create_params.VideoCreateParams),
}
"""Path → names of its request's fields."""
