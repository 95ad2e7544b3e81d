"""How many tokens pictures take is asked once for each size."""

import pytest

from frontend.models import image_counts
from frontend.models.image_counts import ImageCounts
from protocol.errors import EngineFault
from protocol.replies import Tokenized
from protocol.requests import Tokenize

QUERY = "q" * 32


class Worker:
    """Counts a token a pixel of width; asked once more than it is told of."""

    def __init__(self, *, wrong: bool = False) -> None:
        self.asked: list[list[tuple[int, int]]] = []
        self._wrong = wrong

    async def ask(self, query: Tokenize) -> Tokenized:
        self.asked.append(query.images)
        counts = [0 if self._wrong else width for width, _ in query.images]
        return Tokenized(query.query_id, image_tokens=counts)


async def test_a_size_is_asked_for_once() -> None:
    worker = Worker()
    counts = ImageCounts("m", worker.ask, lambda: QUERY)
    assert await counts.tokens([(3, 1), (2, 1), (3, 1)]) == [3, 2, 3]
    assert await counts.tokens([(2, 1), (4, 1)]) == [2, 4]
    assert await counts.tokens([(2, 1)]) == [2]
    assert worker.asked == [[(3, 1), (2, 1)], [(4, 1)]]


async def test_so_many_sizes_are_remembered_the_latest_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image_counts, "SIZES_MAX", 2)
    worker = Worker()
    counts = ImageCounts("m", worker.ask, lambda: QUERY)
    for width in (1, 2, 1, 3, 1, 2):
        assert await counts.tokens([(width, 1)]) == [width]
    assert worker.asked == [[(1, 1)], [(2, 1)], [(3, 1)], [(2, 1)]]


async def test_a_picture_of_no_tokens_is_a_workers_fault() -> None:
    with pytest.raises(EngineFault):
        await ImageCounts("m", Worker(wrong=True).ask, lambda: QUERY).tokens([(1, 1)])
