"""A prompt's media take their places among its tokens."""

from collections.abc import Sequence
from typing import Final

from frontend.media.part import MediaItem, MediaSource
from frontend.models.served import ServedModel
from kv_events.media_pads import Padded
from protocol.errors import InvalidRequest, UnsupportedParameter
from protocol.media import MediaTaken, Modality, PromptMedia
from protocol.tokens import pack_tokens, unpack_tokens

_MANY: Final[dict[Modality, str]] = {"image": "images", "video": "videos", "audio": "audio"}
"""Names what a model takes, for those who send something else."""


def check_taken(taken: MediaTaken | None, sources: Sequence[MediaSource]) -> None:
    """Refuses media that the model does not take.

    Raises:
        UnsupportedParameter: naming the first of them.
    """
    modalities = [] if taken is None else taken.modalities
    for source in sources:
        if source.modality not in modalities:
            takes = " and ".join(["text", *(_MANY[each] for each in modalities)])
            raise UnsupportedParameter(
                f"This model takes {takes if modalities else 'text only'}, no {source.modality}.",
                param=source.param,
            )


async def place_media(
    served: ServedModel, token_ids: bytes, items: Sequence[MediaItem]
) -> tuple[bytes, list[PromptMedia]]:
    """Returns the prompt (packed u32) with as many tokens for each picture as it takes, and the
    media with their places. Media whose tokens nobody can count keep their one.

    Args:
        token_ids: with one token for each medium, as the chat template writes it.
        items: in the order of the messages.
    Raises:
        InvalidRequest: the tokens that stand for media are not those of the items.
        MeshError: no worker counts them.
    """
    taken = served.card.media
    assert taken is not None
    counts = await _counts(served, items)
    rest = unpack_tokens(token_ids)
    stands_for = {taken.token_id(modality): modality for modality in taken.modalities}
    places = [at for at, token in enumerate(rest) if token in stands_for]
    if [stands_for[rest[at]] for at in places] != [item.modality for item in items]:
        raise InvalidRequest(
            "The messages' texts write tokens that stand for media, or the chat template leaves "
            "media out.",
            param="messages",
        )
    prompt: list[int] = []
    media: list[PromptMedia] = []
    end = 0
    for at, item, count in zip(places, items, counts, strict=True):
        prompt += rest[end:at]
        media.append(
            PromptMedia(item.modality, item.data, item.digest, len(prompt), count, str(item.param))
        )
        prompt += [rest[at]] * max(1, count)
        end = at + 1
    return pack_tokens([*prompt, *rest[end:]]), media


def padded_runs(media: Sequence[PromptMedia]) -> list[Padded]:
    """Returns where the media are in their prompt, for its blocks' hashes."""
    return [Padded(each.at, each.tokens, each.digest) for each in media]


async def _counts(served: ServedModel, items: Sequence[MediaItem]) -> list[int]:
    """Returns the tokens of each item, 0 where nobody can count them."""
    counter = served.image_counts
    sizes = [(item.width, item.height) for item in items if item.modality == "image"]
    if counter is None or not sizes:
        return [0] * len(items)
    counted = iter(await counter.tokens(sizes))
    return [next(counted) if item.modality == "image" else 0 for item in items]
