"""What another worker made of a prompt's pictures is handed to SGLang in their place.

All of it is checked first: numbers of another shape than the model's end SGLang's scheduler.

Imports no SGLang, and torch only where there is something to hand over.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from protocol.errors import EngineFault
from protocol.generation import Generate
from protocol.media import Encoding, PromptMedia
from protocol.tokens import TOKEN_ID_BYTES, pack_tokens
from workers.sglang.vision_files import has_grids

UNFIT = "What the encoder made of the images does not fit this model."


class VisionShape(Struct, frozen=True):
    """A VisionShape says what a language model takes of a picture that others have encoded."""

    image_token_id: int
    merged: int
    """So many patches become one token."""
    vector_columns: int
    """Counts the numbers of a token's vector."""
    patch_columns: int
    """Counts the numbers of a patch's pixels."""
    grids_alone: bool = False
    """Says that it needs nothing but grids, since another worker computes its prompts."""

    @classmethod
    def of(cls, config: Any, hidden_size: int, *, grids_alone: bool = False) -> "VisionShape":
        """Returns the shape by a model's configuration, as Hugging Face has it.

        Args:
            hidden_size: of its language model. Some put the features of several layers (deepstack)
            side by side, as SGLang's encoder then does.
        """
        vision = config.vision_config
        layers = getattr(vision, "deepstack_visual_indexes", None) or ()
        width = getattr(vision, "out_hidden_size", None)
        channels = getattr(vision, "in_channels", None) or getattr(vision, "in_chans", None) or 3
        return cls(
            image_token_id=int(config.image_token_id),
            merged=int(vision.spatial_merge_size) ** 2,
            vector_columns=hidden_size if width is None else int(width) * (1 + len(layers)),
            patch_columns=int(channels)
            * int(vision.temporal_patch_size)
            * int(vision.patch_size) ** 2,
            grids_alone=grids_alone,
        )


async def encoded_by_others(request: Generate, manager: Any) -> Any:
    """Returns what SGLang takes for the pictures of a prompt that another worker encoded; None
    where there are none.

    Args:
        manager: SGLang's TokenizerManager.
    Raises:
        EngineFault: it is not what this model takes of such pictures.
    """
    if all(each.encoding is None for each in request.media):
        return None
    config = manager.model_config
    if not has_grids({"architectures": config.hf_config.architectures}):
        raise EngineFault(UNFIT)
    shape = VisionShape.of(
        config.hf_config,
        int(config.hidden_size),
        grids_alone=manager.config_value("disaggregation_mode") == "decode",
    )
    return await asyncio.to_thread(encoded_images, request.token_ids, request.media, shape)


def encoded_images(token_ids: bytes, media: Sequence[PromptMedia], shape: VisionShape) -> Any:
    """Returns what SGLang takes for all pictures of a prompt: one item of the form that its own
    processor would make. Copies the numbers, so it is for a thread.

    Args:
        token_ids: the prompt, packed u32, with as many tokens for each picture as it takes.
    Raises:
        EngineFault: it is not what this model takes of such pictures.
    """
    encodings = [each.encoding for each in media if each.encoding is not None]
    if len(encodings) != len(media) or not _fit(token_ids, media, shape):
        raise EngineFault(UNFIT)
    first = encodings[0]
    if any((each.holds, each.dtype) != (first.holds, first.dtype) for each in encodings):
        raise EngineFault(UNFIT)
    import torch  # noqa: PLC0415

    item: dict[str, Any] = {
        "format": "processor_output",
        "modality": "IMAGE",
        "image_grid_thw": torch.tensor([each.grid for each in encodings], dtype=torch.int64),
        "offsets": [(each.at, each.at + each.tokens - 1) for each in media],
        "hash": media[0].digest,  # or SGLang makes one of all the numbers, which nobody needs
    }
    if first.holds != "grid":
        name = "pixel_values" if first.holds == "pixels" else "precomputed_embeddings"
        numbers = bytearray().join(each.data for each in encodings)
        item[name] = torch.frombuffer(numbers, dtype=getattr(torch, first.dtype)).reshape(
            -1, first.columns
        )
    return item


def _fit(token_ids: bytes, media: Sequence[PromptMedia], shape: VisionShape) -> bool:
    """Tells whether each picture has its tokens in the prompt, behind those of the one before, and
    what was made of it has the shape that belongs to them.
    """
    end = 0
    for each in media:
        start, behind = each.at * TOKEN_ID_BYTES, (each.at + each.tokens) * TOKEN_ID_BYTES
        if each.modality != "image" or not each.tokens or each.data or start < end:
            return False
        if token_ids[start:behind] != pack_tokens([shape.image_token_id]) * each.tokens:
            return False
        if each.encoding is None or not _fits(each.encoding, each.tokens, shape):
            return False
        end = behind
    return True


def _fits(encoding: Encoding, tokens: int, shape: VisionShape) -> bool:
    if encoding.patches != tokens * shape.merged:
        return False
    match encoding.holds:
        case "vectors":
            return (encoding.rows, encoding.columns) == (tokens, shape.vector_columns)
        case "pixels":
            return (encoding.rows, encoding.columns) == (encoding.patches, shape.patch_columns)
        case "grid":
            return shape.grids_alone and not encoding.data
