"""Pictures, videos and sounds of prompts are handed to SGLang's processor of the model, and asked
of it how many tokens they take.

Imports no SGLang at its head; a processor is a `BaseMultimodalProcessor`.
"""

import asyncio
import io
import logging
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from protocol.errors import InvalidRequest
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.media import ImageSize, MediaTaken, PromptMedia
from protocol.tokens import TOKEN_ID_BYTES
from workers.sglang.decoding.process import UnreadableMedium
from workers.sglang.pictures import TRIED_SIZES

log = logging.getLogger(__name__)

_CAUSES_MAX: Final = 8
"""Bounds the errors that led to one: SGLang's processors raise twice what they catch."""

_FIELDS: Final = {"image": "image_data", "video": "video_data", "audio": "audio_data"}


class SglangImages:
    """SglangImages is an ImageCounter that counts as the model's own processor does.

    Args:
        processor: SGLang's multimodal processor of the model.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def tokens(self, sizes: Sequence[ImageSize]) -> list[int]:
        """Returns how many tokens stand for pictures of these sizes."""
        return [
            int(count)
            for count in self._processor.resolve_image_token_counts([_Sized(*s) for s in sizes])
        ]


class _Sized:
    """A _Sized is all that SGLang looks at of a picture to count its tokens."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height


async def media_taken(manager: Any, encoder: str = "") -> MediaTaken | None:
    """Returns which media the started engine's model takes; None where its prompts are text.

    Args:
        encoder: names the part of the model that sees, where it can stand on its own.
    """
    processor = manager.mm_processor
    if processor is None or processor.mm_tokens is None:
        return None
    tokens = processor.mm_tokens
    taken = _readable(
        MediaTaken(
            image_token_id=tokens.image_token_id,
            video_token_id=tokens.video_token_id,
            audio_token_id=tokens.audio_token_id,
        )
    )
    if taken == MediaTaken():
        return None
    counts = taken.image_token_id is not None and await _counts_rightly(
        manager, taken.image_token_id
    )
    return replace(taken, counts_images=counts, encoder=encoder if counts else "")


def _readable(taken: MediaTaken) -> MediaTaken:
    """Returns what of a model's media can be decoded here."""
    from workers.sglang.seam.videos import reads_sounds, reads_videos  # noqa: PLC0415

    if taken.video_token_id is not None and not reads_videos():
        log.warning("no videos are taken: neither torchcodec with FFmpeg nor decord is installed")
        taken = replace(taken, video_token_id=None)
    if taken.audio_token_id is not None and not reads_sounds():
        log.warning("no audio is taken: neither torchcodec with FFmpeg nor soundfile is installed")
        taken = replace(taken, audio_token_id=None)
    return taken


async def _counts_rightly(manager: Any, image_token_id: int) -> bool:
    """Tells whether pictures become as many tokens, all the same one, as their sizes say."""
    from PIL import Image  # noqa: PLC0415  # only models that see have it imported
    from sglang.srt.managers.io_struct import GenerateReqInput  # noqa: PLC0415

    processor = manager.mm_processor
    images, written = SglangImages(processor), processor.mm_tokens.image_token
    token = written if isinstance(written, str) else written[0]
    prompt = manager.tokenizer.encode(token, add_special_tokens=False)
    for size in TRIED_SIZES:
        file = io.BytesIO()
        Image.new("RGB", size).save(file, "PNG")
        request = GenerateReqInput(input_ids=prompt, image_data=[file.getvalue()])
        try:
            processed = await processor.process_mm_data_async(
                image_data=request.image_data,
                audio_data=None,
                input_text=request.input_ids,
                request_obj=request,
                max_req_input_len=None,
            )
            [count] = images.tokens([size])
            at = prompt.index(image_token_id)
            if [*processed.input_ids] != [
                *prompt[:at],
                *[image_token_id] * count,
                *prompt[at + 1 :],
            ]:
                return False
        except Exception:  # whatever a processor raises, the engine counts for itself
            log.debug("pictures are not counted ahead", exc_info=True)
            return False
    return True


def engine_media(media: Sequence[PromptMedia]) -> dict[str, list[bytes]]:
    """Returns the media as SGLang's fields of a request take them."""
    fields: dict[str, list[bytes]] = {}
    for each in media:
        fields.setdefault(_FIELDS[each.modality], []).append(each.data)
    return fields


def engine_prompt(token_ids: bytes, media: Sequence[PromptMedia]) -> bytes:
    """Returns the prompt with one token for each medium, which SGLang expands; both packed u32.

    Raises:
        InvalidRequest: a medium lies outside the prompt, or before another one.
    """
    pieces: list[bytes] = []
    end = 0
    for each in media:
        start = each.at * TOKEN_ID_BYTES
        if start < end or start + max(1, each.tokens) * TOKEN_ID_BYTES > len(token_ids):
            raise InvalidRequest("the media of the prompt are not where they are said to be")
        pieces.append(token_ids[end : start + TOKEN_ID_BYTES])
        end = start + max(1, each.tokens) * TOKEN_ID_BYTES
    return b"".join([*pieces, token_ids[end:]])


async def name_damaged(media: Sequence[PromptMedia], error: Exception) -> None:
    """Finds the medium that cannot be read, after the engine failed on a request.

    Raises:
        InvalidRequest: names the field that the first such one came from.
    """
    unreadable = _of_medium(error)
    for each in media:
        if unreadable is not None and unreadable.data is each.data:
            raise InvalidRequest(unreadable.reason, param=each.param or None) from None
        if each.modality == "image" and not await asyncio.to_thread(_is_readable, each.data):
            raise InvalidRequest(
                "The image cannot be decoded: it is damaged.", param=each.param or None
            )
    if isinstance(error, ValueError) and len(media) == 1 and media[0].modality == "video":
        reason = f"The video cannot be used: {error}"[:MESSAGE_CHARS_MAX]
        raise InvalidRequest(reason, param=media[0].param or None) from None


def _of_medium(error: BaseException | None) -> UnreadableMedium | None:
    """Returns the error of a decoder among those that led to this one: SGLang raises its own."""
    for _ in range(_CAUSES_MAX):
        if error is None or isinstance(error, UnreadableMedium):
            return error
        error = error.__cause__ or error.__context__
    return None


def _is_readable(data: bytes) -> bool:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True
