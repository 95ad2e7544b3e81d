"""What stands for pictures in the caches of a simulated engine, and how many tokens they take.

A real engine's cache has four numbers of 62 bits in turn for a picture (kv_events.media_pads). The
simulated caches keep ids of 32 bits, so each of those has a short name there, above every
vocabulary, under which it is told.
"""

import json
from array import array
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal, cast

from kv_events.media_pads import pads
from protocol.generation import Generate
from protocol.media import Encoding, ImageSize, MediaTaken, PromptMedia
from protocol.tokens import pack_tokens, unpack_tokens

_NAMES_FROM: Final = 2**31
"""No vocabulary has ids from here on."""

_NAMES_MAX: Final = 2**18
"""Bounds the names remembered, four a picture, at some 100 bytes each; under what is forgotten a
picture is told by its short name, so that it is not found again.
"""

_SIDE_PIXELS: Final = 28
"""A token stands for a square of so many pixels, as in Qwen2-VL."""

_TOKENS_MAX: Final = 1_024

_DIGEST_BYTES: Final = 8

_NAME_DIGITS: Final = 16


class SimPictures:
    """A SimPictures belongs to one engine; it is also its ImageCounter."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}

    def tokens(self, sizes: Sequence[ImageSize]) -> list[int]:
        """Returns how many tokens pictures of these sizes take."""
        return [
            min(_TOKENS_MAX, -(-width // _SIDE_PIXELS) * -(-height // _SIDE_PIXELS))
            for width, height in sizes
        ]

    def cached_prompt(self, request: Generate) -> bytes:
        """Returns a prompt as the caches keep it, packed u32."""
        if not request.media:
            return request.token_ids
        tokens = array("I", unpack_tokens(request.token_ids))
        for each in request.media:
            count = max(1, each.tokens)
            names = array("I", self._names(each.digest)) * (count // 4 + 1)
            tokens[each.at : each.at + count] = names[:count]
        return pack_tokens(tokens)

    def told(self, tokens: "array[int]") -> list[int]:
        """Returns cached tokens as a real engine would tell them."""
        if not self._told or max(tokens) < _NAMES_FROM:
            return tokens.tolist()
        return [self._told.get(token, token) for token in tokens]

    def _names(self, digest: int) -> list[int]:
        names = [_NAMES_FROM + (digest % 2**29) * 4 + turn for turn in range(4)]
        for name, pad in zip(names, pads(digest), strict=True):
            self._told.pop(name, None)
            self._told[name] = pad
        while len(self._told) > _NAMES_MAX:
            del self._told[next(iter(self._told))]
        return names


def told_of(picture: PromptMedia, holds: Literal["vectors", "pixels"]) -> Encoding:
    """Returns what a simulated encoder makes of a picture: its digest, once for each token."""
    rows = max(1, picture.tokens)
    data = picture.digest.to_bytes(_DIGEST_BYTES, "little") * rows
    return Encoding(holds, (1, 1, rows), _DIGEST_BYTES // 4, "float32", data)


def mistaken(media: Sequence[PromptMedia]) -> str:
    """Returns what is wrong with the encodings that came in the place of pictures, in words; empty
    if nothing is.
    """
    for each in media:
        made = each.encoding
        if made is None and not each.data:
            return "a picture has neither data nor an encoding"
        if made is not None and made.grid != (1, 1, max(1, each.tokens)):
            return "the encoding of a picture has another size"
        if made is not None and made.holds != "grid" and made != told_of(each, made.holds):
            return "the encoding of a picture is another picture's"
    return ""


def media_of(model_dir: Path) -> MediaTaken | None:
    """Returns which media a model takes by its config.json; None where its prompts are text."""
    try:
        raw = (model_dir / "config.json").read_bytes()
        config: Any = json.loads(raw)
    except (OSError, ValueError):
        return None
    named = cast("dict[str, Any]", config) if isinstance(config, dict) else {}
    image, video = named.get("image_token_id"), named.get("video_token_id")
    if not isinstance(image, int):
        return None
    return MediaTaken(
        image,
        video if isinstance(video, int) else None,
        counts_images=True,
        encoder=sha256(raw).hexdigest()[:_NAME_DIGITS],
    )
