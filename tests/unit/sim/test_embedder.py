"""Vectors of the sim engine."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from protocol.embedding import Embed, Embedded
from protocol.generation import Finished
from protocol.replies import Delta, Failed
from protocol.tokens import pack_tokens
from workers.sim.embedding import SimEmbedder

texts = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50)


@given(texts)
def test_a_text_always_points_in_the_same_direction(ids: list[int]) -> None:
    vector = SimEmbedder(64).vector(pack_tokens(ids))
    assert np.array_equal(vector, SimEmbedder(64).vector(pack_tokens(ids)))
    assert abs(float(np.linalg.norm(vector)) - 1.0) < 1e-5


def test_texts_that_share_tokens_are_closer_than_others() -> None:
    embedder = SimEmbedder(384)
    text, alike, other = (
        embedder.vector(pack_tokens(ids)) for ids in ([1, 2, 3, 4], [1, 2, 3, 9], [11, 12, 13, 14])
    )
    assert float(text @ alike) > 0.6
    assert abs(float(text @ other)) < 0.3


def test_only_a_text_that_was_computed_has_a_vector() -> None:
    embedder = SimEmbedder(8)
    ends = {
        "done": Finished("length", 2, 0),
        "aborted": Finished("abort", 0, 0),
        "failed": Failed("engine_fault", "no"),
    }
    for name in ends:
        generation = embedder.as_generation(
            Embed(name, "m", pack_tokens([1, 2]), 5, priority=3, routed_dp_rank=1)
        )
        assert (
            generation.sampling.max_new_tokens,
            generation.priority,
            generation.routed_dp_rank,
        ) == (0, 3, 1)
    told = embedder.with_vectors([Delta(name, 0, b"", end) for name, end in ends.items()])
    assert told[0].end == Embedded(embedder.vector(pack_tokens([1, 2])).tobytes(), 2)
    assert [delta.end for delta in told[1:]] == [ends["aborted"], ends["failed"]]
