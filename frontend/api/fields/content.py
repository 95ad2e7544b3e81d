"""Parts of a chat message that are pictures, videos or sounds become what is to be fetched."""

from collections.abc import Mapping
from typing import Any, Final, cast

from frontend.http.ignored import Ignored
from frontend.media.part import MediaSource
from protocol.errors import InvalidRequest
from protocol.media import Modality

_FIELDS: Final[Mapping[str, tuple[Modality, str]]] = {
    "image_url": ("image", "image_url"),
    "input_image": ("image", "image_url"),
    "video_url": ("video", "video_url"),
    "audio_url": ("audio", "audio_url"),
    "input_audio": ("audio", "input_audio"),
}
"""Maps the type of a part to what it is and the field that holds it: OpenAI's, and as SGLang and
vLLM name theirs.
"""

_FOR_PROCESSORS: Final = (
    "fps",
    "max_frames",
    "max_tokens_per_frame",
    "max_image_tokens",
    "max_long_side_pixel",
    "max_dynamic_patch",
    "min_dynamic_patch",
)
"""Names fields that SGLang takes beside a URL."""

_DETAILS: Final = frozenset({"auto", "low", "high", "original"})


def is_media(kind: Any) -> bool:
    """Tells whether a part of that type is a medium."""
    return isinstance(kind, str) and kind in _FIELDS


def media_source(part: Mapping[str, Any], param: str, ignored: Ignored) -> MediaSource:
    """Returns what a part names.

    Args:
        part: of a type that `is_media`.
        param: the part's place.
        ignored: takes a detail, which changes nothing, and what else has no effect.
    Raises:
        InvalidRequest: it is malformed.
    """
    modality, field = _FIELDS[part["type"]]
    given, param = part.get(field), f"{param}.{field}"
    if field == "input_audio":
        return MediaSource(modality, _sound(given, param), f"{param}.data")
    if isinstance(given, str):
        _check_detail(part.get("detail"), param, ignored)
        return MediaSource(modality, given, param)
    named = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    url = named.get("url")
    if not isinstance(url, str):
        raise InvalidRequest(
            f"A part of type {part['type']!r} needs a URL, a string.", param=f"{param}.url"
        )
    _check_detail(named.get("detail"), param, ignored)
    for name in _FOR_PROCESSORS:
        if named.get(name) is not None:
            reason = "how a medium is seen is up to the model's processor"
            ignored.add(f"messages.content.{field}.{name}", reason, param=f"{param}.{name}")
    return MediaSource(modality, url, f"{param}.url")


def _sound(given: Any, param: str) -> str:
    """Returns OpenAI's form of a sound as the URL that it might have been."""
    named = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    data, form = named.get("data"), named.get("format", "wav")
    if not isinstance(data, str) or form not in ("wav", "mp3", "flac", "ogg"):
        raise InvalidRequest(
            "input_audio needs data, in base64, and a format: wav, mp3, flac or ogg.", param=param
        )
    return f"data:audio/{form};base64,{data}"


def _check_detail(detail: Any, param: str, ignored: Ignored) -> None:
    if detail in (None, "auto"):
        return
    if detail not in _DETAILS:
        raise InvalidRequest(
            f"detail must be one of {', '.join(sorted(_DETAILS))}.", param=f"{param}.detail"
        )
    reason = "how finely a picture is seen is up to the model's processor"
    ignored.add("messages.content.detail", reason, param=f"{param}.detail")
