"""Counts the media of prompts for Prometheus, under the reference product's names where it has
them.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from protocol.media import Modality, PromptMedia

_ITEMS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS: Final = (16, 64, 256, 1_024, 4_096, 16_384, 65_536)
_PER_REQUEST: Final[dict[Modality, str]] = {
    "image": "images",
    "video": "videos",
    "audio": "audio",
}


class MediaMetrics:
    """MediaMetrics counts each prompt with media once, when it is made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._per_request = {
            modality: Histogram(
                f"dynamo_frontend_{name}_per_request",
                f"Media of kind {modality} in prompts that have some",
                ["model"],
                buckets=_ITEMS,
                registry=registry,
            )
            for modality, name in _PER_REQUEST.items()
        }
        self._image_tokens = Histogram(
            "dynamo_frontend_image_tokens_per_request",
            "Tokens that the images of a prompt take",
            ["model"],
            buckets=_TOKENS,
            registry=registry,
        )
        self._bytes = Counter(
            "kvmesh_frontend_media_bytes_total",
            "Bytes of media in prompts, as clients sent them",
            ["model"],
            registry=registry,
        )

    def note(self, model: str, media: Sequence[PromptMedia]) -> None:
        """Counts the media of a prompt for a model that is served."""
        for modality, count in Tally(each.modality for each in media).items():
            self._per_request[modality].labels(model).observe(count)
        tokens = sum(each.tokens for each in media if each.modality == "image")
        if tokens:
            self._image_tokens.labels(model).observe(tokens)
        self._bytes.labels(model).inc(sum(len(each.data) for each in media))
