"""How many tokens pictures take in a model's prompts is asked of its workers once for each size."""

from collections.abc import Callable, Sequence
from typing import Final

from frontend.text.tokenizing.worker_tokenizer import Ask
from protocol.errors import EngineFault
from protocol.media import ImageSize
from protocol.requests import Tokenize

SIZES_MAX: Final = 4_096
"""Bounds the sizes remembered of one model, at some 200 bytes each: cameras and screens have some
tens, pictures cut by hand any.
"""


class ImageCounts:
    """An ImageCounts belongs to one model and one event loop.

    Args:
        ask: puts a question to a worker of the model.
        new_query_id: names a question.
    """

    def __init__(self, model: str, ask: Ask, new_query_id: Callable[[], str]) -> None:
        self._model = model
        self._ask = ask
        self._new_query_id = new_query_id
        self._known: dict[ImageSize, int] = {}

    async def tokens(self, sizes: Sequence[ImageSize]) -> list[int]:
        """Returns the number of tokens of pictures of these sizes.

        Raises:
            MeshError: as frontend.mesh.queries.Queries.ask.
        """
        known = {size: self._known[size] for size in sizes if size in self._known}
        asked = [size for size in dict.fromkeys(sizes) if size not in known]
        if asked:
            query = Tokenize(self._new_query_id(), self._model, 0, images=asked)
            counts = (await self._ask(query)).image_tokens
            if len(counts) != len(asked) or not all(counts):
                raise EngineFault("The worker did not count the tokens of the images.")
            known |= zip(asked, counts, strict=True)
        for size, count in known.items():  # the latest used last, so the oldest go first
            self._known.pop(size, None)
            self._known[size] = count
        while len(self._known) > SIZES_MAX:
            del self._known[next(iter(self._known))]
        return [known[size] for size in sizes]
