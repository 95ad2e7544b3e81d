"""Tells clients what workers serve: the one table of services in the frontend.

A service that comes later is one row here; what it is asked through is an endpoint of its own.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from protocol.membership import Service

GENERATION: Final[Service] = "text"
VECTORS: Final[Service] = "embedding"
IMAGES: Final[Service] = "images"
VIDEOS: Final[Service] = "videos"


@dataclass(frozen=True, kw_only=True)
class ServiceUse:
    """A ServiceUse says what a client can do with a model that is served so.

    Attributes:
        does: behind the model's name, a sentence for a client that asked for something else.
        endpoints: the paths that its models are asked through.
        generates: it answers prompts with tokens.
        makes_vectors: it answers texts with vectors.
        makes_media: it answers texts with pictures or videos; its workers take prompts as text.
        try_path: behind /v1, where somebody may try it; empty where clients have nothing to ask.
        try_body: what to ask there, but for the model's name.
    """

    does: str
    endpoints: tuple[str, ...] = ()
    generates: bool = False
    makes_vectors: bool = False
    makes_media: bool = False
    try_path: str = ""
    try_body: dict[str, Any] = field(default_factory=dict[str, Any])


_USES: Final[dict[str, ServiceUse]] = {
    GENERATION: ServiceUse(
        does=(
            "generates text (/v1/chat/completions, /v1/completions, /v1/responses, /v1/messages); "
            "it makes no embeddings and no pictures, and ranks no documents"
        ),
        endpoints=("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"),
        generates=True,
        try_path="/chat/completions",
        try_body={"messages": [{"role": "user", "content": "What is kvmesh?"}]},
    ),
    VECTORS: ServiceUse(
        does="makes vectors of texts (/v1/embeddings, /v1/rerank, /v1/score) and generates no text",
        endpoints=("/v1/embeddings", "/v1/rerank", "/v1/score"),
        makes_vectors=True,
        try_path="/embeddings",
        try_body={"input": "What is kvmesh?"},
    ),
    IMAGES: ServiceUse(
        does="makes pictures (/v1/images/generations, /v1/images/edits) and answers nothing else",
        endpoints=("/v1/images/generations", "/v1/images/edits"),
        makes_media=True,
        try_path="/images/generations",
        try_body={"prompt": "a red circle on blue"},
    ),
    VIDEOS: ServiceUse(
        does="makes videos (/v1/videos, /v1/videos/stream) and answers nothing else",
        endpoints=("/v1/videos", "/v1/videos/stream"),
        makes_media=True,
        try_path="/videos",
        try_body={"prompt": "a red circle on blue"},
    ),
}

_UNKNOWN: Final = ServiceUse(does="is served for something that this frontend does not know")


def use_of(service: str) -> ServiceUse:
    """Returns what a model is good for whose workers serve this; a worker may be newer than a
    frontend.
    """
    return _USES.get(service, _UNKNOWN)
