"""The media of a request are known to SGLang's cache by digests that others can compute.

SGLang hashes what its processor makes of a picture, which depends on the processor and its device;
a router knows the client's bytes alone.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from protocol.errors import ContextOverflow
from protocol.media import Modality, PromptMedia

log = logging.getLogger(__name__)


def set_digests(inputs: Any, digests: Mapping[Modality, Sequence[int]]) -> None:
    """Sets the hashes of a request's media items (`MultimodalProcessorOutput`), of which there is
    one for each digest of its modality, in order; else leaves SGLang's own.

    SGLang has all pictures before all videos, wherever they are in the prompt.

    The padded ids that a processor has built from its own hashes are dropped: a scheduler that
    finds them beside other hashes dies. It builds them anew.
    """
    if inputs is None:
        return
    inputs.mm_items = [each for item in inputs.mm_items for each in _apart(item)]
    items: dict[str, list[Any]] = {}
    for item in inputs.mm_items:
        items.setdefault(_modality(item), []).append(item)
    if {name: len(each) for name, each in items.items()} != {
        name: len(each) for name, each in digests.items()
    }:
        log.debug("media are known to the cache by the engine's own hashes")
        return
    for modality, of_one in digests.items():
        for item, digest in zip(items[modality], of_one, strict=True):
            item.set_hash(digest)
    inputs.padded_input_ids = None


def digests_of(media: Sequence[PromptMedia]) -> dict[Modality, list[int]]:
    """Returns the digests of a prompt's media, of each modality in order."""
    digests: dict[Modality, list[int]] = {}
    for each in media:
        digests.setdefault(each.modality, []).append(each.digest)
    return digests


def bound_by_media(obj: Any, prompt_tokens: int, context_tokens: int, tokens_max: int) -> None:
    """Has the context end an answer, where only the engine knows how much of it the prompt takes.

    Args:
        obj: the request, a `GenerateReqInput`.
        prompt_tokens: its prompt's, media included.
        tokens_max: a prompt must have less than so many.
    Raises:
        ContextOverflow: there is no room for an answer.
    """
    if prompt_tokens >= min(context_tokens, tokens_max):
        raise ContextOverflow(
            f"The prompt has {prompt_tokens} tokens with its videos and sounds; it may have less "
            f"than {min(context_tokens, tokens_max)}.",
            param="messages",
        )
    params, room = obj.sampling_params, context_tokens - prompt_tokens
    params["max_new_tokens"] = min(params["max_new_tokens"], room)
    params["min_new_tokens"] = min(params["min_new_tokens"], room)


def _modality(item: Any) -> str:
    if item.is_image():
        return "image"
    return "video" if item.is_video() else "audio"


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
