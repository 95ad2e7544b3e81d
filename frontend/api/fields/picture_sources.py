"""Pictures that a request brings or names, before they are read."""

from collections.abc import Iterator, Sequence

from frontend.api.fields.diffusion import PictureReference
from frontend.api.fields.form_bodies import Upload
from frontend.media.data_urls import is_data_url
from frontend.media.part import MediaSource

Named = str | PictureReference | Sequence[str | PictureReference] | None


def uploaded(uploads: Sequence[Upload]) -> Iterator[MediaSource]:
    """Yields the files of a form."""
    for upload in uploads:
        yield MediaSource("image", "", upload.param, upload.data)


def sources_of(value: Named, param: str) -> Iterator[MediaSource]:
    """Yields the pictures that the field `param` names."""
    if value is None:
        return
    if isinstance(value, PictureReference):
        yield MediaSource("image", value.image_url, f"{param}.image_url")
    elif isinstance(value, str):
        yield MediaSource("image", _url(value), param)
    else:
        for index, each in enumerate(value):
            yield from sources_of(each, f"{param}[{index}]")


def _url(value: str) -> str:
    """Returns the URL of a picture that may be base64 alone."""
    return value if is_data_url(value) or "://" in value[:16] else f"data:image/*;base64,{value}"
