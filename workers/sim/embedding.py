"""Vectors are made without a model: texts that share tokens point in similar directions.

The same on every worker.

A text is the mean of its tokens' random directions (a random projection of its bag of words),
scaled to length one.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.embedding import Embed, Embedded
from protocol.generation import Finished, Generate, Sampling
from protocol.replies import Delta

_TOKEN_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
_PLACE_SPREAD: Final = np.uint64(0xD6E8FEB86659FD93)
_MIX: Final = np.uint64(0xFF51AFD7ED558CCD)


class SimEmbedder:
    """A SimEmbedder lets a scheduler compute a text as if it were a prompt, and puts the vector in
    the place of the end.

    Args:
        dimensions: of every vector.
    """

    def __init__(self, dimensions: int) -> None:
        self._places = np.arange(1, dimensions + 1, dtype=np.uint64) * _PLACE_SPREAD
        self._texts: dict[str, bytes] = {}
        """Each request that has not ended is mapped to its token ids, packed u32.

        Bounded as the scheduler's queue is.
        """

    def as_generation(self, request: Embed) -> Generate:
        """Returns a request that computes the text and generates nothing."""
        self._texts[request.request_id] = request.token_ids
        return Generate(
            request.request_id,
            request.model,
            request.token_ids,
            Sampling(0),
            request.deadline_unix_ms,
            stream=False,
            priority=request.priority,
            routed_dp_rank=request.routed_dp_rank,
            lora_name=request.lora_name,
        )

    def with_vectors(self, deltas: Sequence[Delta]) -> list[Delta]:
        """Returns the deltas of a step, with vectors where texts have been computed."""
        return [delta if delta.end is None else self._ended(delta) for delta in deltas]

    def vector(self, token_ids: bytes) -> NDArray[np.float32]:
        """Returns the direction of a text (packed u32), shape [dimensions]."""
        ids, counts = np.unique(np.frombuffer(token_ids, "<u4"), return_counts=True)
        mixed = (ids.astype(np.uint64)[:, None] + np.uint64(1)) * _TOKEN_SPREAD ^ self._places
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
        directions = (mixed >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0
        summed = counts @ directions
        return (summed / (np.linalg.norm(summed) or 1.0)).astype(np.float32)

    def _ended(self, delta: Delta) -> Delta:
        text = self._texts.pop(delta.request_id, None)
        if text is None or not isinstance(delta.end, Finished) or delta.end.reason == "abort":
            return delta
        vector = self.vector(text).astype("<f4").tobytes()
        return Delta(delta.request_id, 0, b"", Embedded(vector, delta.end.prompt_tokens))
