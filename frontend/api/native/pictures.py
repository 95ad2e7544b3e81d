"""The pictures of a request to /generate, which stand beside its prompt."""

from collections.abc import Sequence
from typing import Final

from frontend.api.native.schemas import GenerateRequest
from frontend.api.prompts.media import check_taken, place_media
from frontend.http.exchange import Exchange
from frontend.media.data_urls import is_data_url
from frontend.media.part import MediaSource
from frontend.media.reader import MediaReader
from frontend.models.served import ServedModel
from protocol.errors import InvalidRequest
from protocol.media import PromptMedia
from protocol.tokens import unpack_tokens

_SCHEME_CHARS: Final = 8
"""Has room for http:// and https://; base64 has no colon."""


async def with_pictures(
    exchange: Exchange,
    reader: MediaReader,
    served: ServedModel,
    request: GenerateRequest,
    prompts: Sequence[bytes],
) -> tuple[list[bytes], list[PromptMedia]]:
    """Returns the prompts (packed u32) with as many tokens for each picture as it takes, and the
    pictures with their places.

    Raises:
        InvalidRequest: there are several prompts, the one has not a token for each picture, or one
        of them cannot be read.
        UnsupportedParameter: the model takes no pictures.
        Overloaded, MeshError: as `MediaReader.read` and `place_media`.
    """
    if not request.image_data:
        return [*prompts], []
    sources = _sources(request.image_data)
    check_taken(served.card.media, sources)
    if len(prompts) > 1:
        raise InvalidRequest(
            "Pictures belong to one prompt: send the prompts of a batch apart.", param="image_data"
        )
    taken = served.card.media
    token_id = None if taken is None else taken.token_id("image")
    wanted = unpack_tokens(prompts[0]).count(token_id) if token_id is not None else 0
    if wanted != len(sources):
        raise InvalidRequest(
            f"The prompt must have the token {token_id} once for each of the {len(sources)} "
            f"pictures, and has it {wanted} times; /v1/chat/completions writes it by itself.",
            param="image_data",
        )
    items = await reader.read(sources, exchange.hold)
    prompt, media = await place_media(served, prompts[0], items)
    reader.note(served.card.name, media)
    return [prompt], media


def _sources(given: str | Sequence[str]) -> list[MediaSource]:
    if isinstance(given, str):
        return [MediaSource("image", _url(given), "image_data")]
    return [MediaSource("image", _url(each), f"image_data[{at}]") for at, each in enumerate(given)]


def _url(given: str) -> str:
    """Returns the URL of a picture that is given by one or is in base64, as SGLang takes them. A
    path is neither: no file of the server's is read.
    """
    if is_data_url(given) or ":" in given[:_SCHEME_CHARS]:
        return given
    return f"data:image/png;base64,{given}"
