"""The names come from the installed client's own types, so that none is forgotten when OpenAI adds
one.
"""

from typing import Any, Final, get_args

from openai.types import completion_create_params, embedding_create_params
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
}
"""Path → names of its request's fields."""
