"""The media of a request are known to SGLang's cache by digests that others can compute.

SGLang hashes what its processor makes of a picture, which depends on the processor and its device;
a router knows the client's bytes alone.
"""

import copy
import logging
from collections.abc import Sequence
from typing import Any

log = logging.getLogger(__name__)


def set_digests(inputs: Any, digests: Sequence[int]) -> None:
    """Sets the hashes of a request's media items (`MultimodalProcessorOutput`), of which there is
    one for each digest, in order; else leaves SGLang's own.

    The padded ids that a processor has built from its own hashes are dropped: a scheduler that
    finds them beside other hashes dies. It builds them anew.
    """
    if inputs is not None:
        inputs.mm_items = [each for item in inputs.mm_items for each in _apart(item)]
    if inputs is None or len(inputs.mm_items) != len(digests):
        log.debug("media are known to the cache by the engine's own hashes")
        return
    for item, digest in zip(inputs.mm_items, digests, strict=True):
        item.set_hash(digest)
    inputs.padded_input_ids = None


def _apart(item: Any) -> list[Any]:
    """Returns an item for each picture of one that others have encoded.

    SGLang takes such items apart by the rows of their pixels, which vectors have not.
    """
    if item.format.name != "PROCESSOR_OUTPUT" or len(item.offsets or ()) < 2:
        return [item]
    items: list[Any] = []
    row = 0
    for number, (start, end) in enumerate(item.offsets):
        one, rows = copy.copy(item), end - start + 1
        one.offsets = [(start, end)]
        if item.precomputed_embeddings is not None:
            one.precomputed_embeddings = item.precomputed_embeddings[row : row + rows]
        grids = item.model_specific_data["image_grid_thw"]
        one.model_specific_data = {
            **item.model_specific_data,
            "image_grid_thw": grids[number : number + 1],
        }
        items.append(one)
        row += rows
    return items
