"""Counts the media of prompts for Prometheus, under the reference product's names where it has
them.
"""

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

from protocol.encoding import Encoded
from protocol.media import Modality, PromptMedia

_ITEMS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS: Final = (16, 64, 256, 1_024, 4_096, 16_384, 65_536)
_ENCODE_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_PER_REQUEST: Final[dict[Modality, str]] = {
    "image": "images",
    "video": "videos",
    "audio": "audio",
}


class MediaMetrics:
    """MediaMetrics counts each prompt with media once, when it is made."""

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self._per_request = {
            modality: Histogram(
                f"{prefix}_{name}_per_request",
                f"Media of kind {modality} in prompts that have some",
                ["model"],
                buckets=_ITEMS,
                registry=registry,
            )
            for modality, name in _PER_REQUEST.items()
        }
        self._image_tokens = Histogram(
            f"{prefix}_image_tokens_per_request",
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


class EncodingMetrics:
    """EncodingMetrics counts what workers encoded of requests' pictures for other workers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "kvmesh_frontend_encode_seconds",
            "Time that the batch took in which the last picture of a request was encoded",
            buckets=_ENCODE_S,
            registry=registry,
        )
        self._pictures = Counter(
            "kvmesh_frontend_encoded_images_total",
            "Images that were encoded for other workers, and those that had been before",
            ["found"],
            registry=registry,
        )
        self._bytes = Counter(
            "kvmesh_frontend_encoded_bytes_total",
            "Bytes that were made of images, for other workers to fetch",
            registry=registry,
        )

    def note(self, encoded: Encoded) -> None:
        """Counts what was made for one request."""
        if encoded.made:
            self._pictures.labels("made").inc(encoded.made)
            self._seconds.observe(encoded.made_us / 1_000_000)
        if encoded.kept:
            self._pictures.labels("kept").inc(encoded.kept)
        self._bytes.inc(encoded.made_bytes)
