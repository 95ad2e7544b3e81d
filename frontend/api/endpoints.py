"""Endpoints that are answered without FastAPI have one record each, and stand in one table by path.

An endpoint more is one row here and the module of its handler.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from frontend.api.anthropic.endpoint import count_message_tokens, messages
from frontend.api.anthropic.errors import ANTHROPIC_ERRORS
from frontend.api.anthropic.schemas import CountTokensRequest, MessagesRequest
from frontend.api.fields.schemas import ChatCompletionRequest, CompletionRequest
from frontend.api.images.endpoint import images_edits, images_generations
from frontend.api.images.references import FILE_FIELDS
from frontend.api.images.schemas import ImageEditRequest, ImageRequest
from frontend.api.launching import Launcher
from frontend.api.native.abort_request import Aborter, AbortRequest
from frontend.api.native.endpoint import generate
from frontend.api.native.health_generate import health_generate
from frontend.api.native.schemas import GenerateRequest
from frontend.api.native.tokenizing import (
    DetokenizeRequest,
    TokenizeRequest,
    detokenize,
    tokenize,
)
from frontend.api.openai.chat import chat_completions
from frontend.api.openai.completions import completions
from frontend.api.outputs.links import MEDIA_PATH
from frontend.api.outputs.media import CONTENT_TYPES, media
from frontend.api.responses.endpoint import responses
from frontend.api.responses.schemas import ResponsesRequest
from frontend.api.vectors.embeddings import embeddings
from frontend.api.vectors.rerank import rerank, score
from frontend.api.vectors.schemas import EmbeddingRequest, RerankRequest, ScoreRequest
from frontend.api.videos.asking import FILE_FIELDS as VIDEO_FILE_FIELDS
from frontend.api.videos.creating import create_video, stream_video
from frontend.api.videos.objects import VIDEOS_PATH
from frontend.api.videos.schemas import RemixRequest, VideoRequest
from frontend.api.videos.stored import (
    CONTENT_FIELDS,
    LIST_FIELDS,
    delete_video,
    list_videos,
    remix_video,
    retrieve_video,
    video_content,
)
from frontend.http.error_forms import OPENAI_ERRORS, ErrorForm
from frontend.http.exchange import Exchange

Handler = Callable[[Exchange, Launcher], Awaitable[None]]

_POST: Final = ("POST",)
_GET: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaPage:
    """A SchemaPage is what the OpenAPI document says of an endpoint.

    Attributes:
        body: the struct that its requests are decoded into; None where they have no body.
        answer: the fields that each of its answers has, with spaces between.
        streams: whether it answers with events too.
        lists: whether it answers a list of prompts with a list.
        files: the fields whose values are files in a form, which it takes beside JSON.
        types: the content-types of answers that are no JSON.
        query: the fields that may stand behind the path.
    """

    body: type[msgspec.Struct] | None
    answer: str = ""
    streams: bool = False
    lists: bool = False
    files: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    query: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An Endpoint is all that the frontend knows of one path that it answers by an exchange.

    Attributes:
        name: what metrics call it, by the reference product's name where it has one.
        handler: answers one exchange, or raises the MeshError that is to be told.
        runs_model: a model computes something for its answers.
        page: None of what the OpenAPI document leaves out.
        methods: those that the path takes.
        pages: what the document says of further methods, which the handler answers too.
        errors: how it says that something went wrong.
    """

    name: str
    handler: Handler
    runs_model: bool = True
    page: SchemaPage | None = None
    methods: tuple[str, ...] = _POST
    errors: ErrorForm = OPENAI_ERRORS
    pages: Mapping[str, SchemaPage] = field(default_factory=dict[str, SchemaPage])


def _by_method(**handlers: Handler) -> Handler:
    """Returns the handler of a path that does something else for each method; HEAD is GET."""

    async def handle(exchange: Exchange, launcher: Launcher) -> None:
        method = exchange.scope["method"]
        await handlers["GET" if method == "HEAD" else method](exchange, launcher)

    return handle


_VIDEO: Final = (
    "id object model status progress created_at completed_at expires_at prompt seconds size error "
    "remixed_from_video_id"
)
_IMAGES: Final = "created data usage background output_format quality size"
_COMPLETION: Final = "id object created model choices usage"
_RERANK: Final = Endpoint(
    name="rerank",
    handler=rerank,
    page=SchemaPage(body=RerankRequest, answer="id model results usage"),
)
_SCORE: Final = Endpoint(
    name="score",
    handler=score,
    page=SchemaPage(body=ScoreRequest, answer="id object created model data usage"),
)
_TOKENIZE: Final = Endpoint(
    name="tokenize",
    runs_model=False,
    handler=tokenize,
    page=SchemaPage(body=TokenizeRequest, answer="tokens count max_model_len"),
)
_DETOKENIZE: Final = Endpoint(
    name="detokenize",
    runs_model=False,
    handler=detokenize,
    page=SchemaPage(body=DetokenizeRequest, answer="text"),
)

ENDPOINTS: Final[dict[str, Endpoint]] = {
    "/v1/chat/completions": Endpoint(
        name="chat_completions",
        handler=chat_completions,
        page=SchemaPage(body=ChatCompletionRequest, answer=_COMPLETION, streams=True),
    ),
    "/v1/completions": Endpoint(
        name="completions",
        handler=completions,
        page=SchemaPage(body=CompletionRequest, answer=_COMPLETION, streams=True),
    ),
    "/v1/embeddings": Endpoint(
        name="embeddings",
        handler=embeddings,
        page=SchemaPage(body=EmbeddingRequest, answer="object data model usage"),
    ),
    "/v1/rerank": _RERANK,
    "/v1/score": _SCORE,
    "/rerank": _RERANK,
    "/score": _SCORE,
    "/v1/images/generations": Endpoint(
        name="images",
        handler=images_generations,
        page=SchemaPage(
            body=ImageRequest, answer=_IMAGES, streams=True, files=("input_reference",)
        ),
    ),
    "/v1/images/edits": Endpoint(
        name="images",
        handler=images_edits,
        page=SchemaPage(body=ImageEditRequest, answer=_IMAGES, streams=True, files=FILE_FIELDS),
    ),
    f"{MEDIA_PATH}{{output_id}}": Endpoint(
        name="media",
        handler=media,
        runs_model=False,
        methods=_GET,
        page=SchemaPage(body=None, types=tuple(each.decode() for each in CONTENT_TYPES.values())),
    ),
    "/v1/videos": Endpoint(
        name="videos",
        handler=_by_method(POST=create_video, GET=list_videos),
        methods=(*_POST, *_GET),
        # as a whole answer it lacks what a job has, so that only these are promised
        page=SchemaPage(
            body=VideoRequest,
            answer="id object model status progress error",
            files=VIDEO_FILE_FIELDS,
        ),
        pages={
            "get": SchemaPage(
                body=None, answer="object data first_id last_id has_more", query=LIST_FIELDS
            )
        },
    ),
    "/v1/videos/stream": Endpoint(
        name="videos",
        handler=stream_video,
        page=SchemaPage(body=VideoRequest, types=("text/event-stream",), files=VIDEO_FILE_FIELDS),
    ),
    f"{VIDEOS_PATH}{{video_id}}": Endpoint(
        name="stored_videos",
        handler=_by_method(GET=retrieve_video, DELETE=delete_video),
        runs_model=False,
        methods=(*_GET, "DELETE"),
        page=SchemaPage(body=None, answer=_VIDEO),
        pages={"delete": SchemaPage(body=None, answer="id object deleted")},
    ),
    f"{VIDEOS_PATH}{{video_id}}/content": Endpoint(
        name="stored_videos",
        handler=video_content,
        runs_model=False,
        methods=_GET,
        page=SchemaPage(body=None, types=("video/mp4",), query=CONTENT_FIELDS),
    ),
    f"{VIDEOS_PATH}{{video_id}}/remix": Endpoint(
        name="videos", handler=remix_video, page=SchemaPage(body=RemixRequest, answer=_VIDEO)
    ),
    "/v1/responses": Endpoint(
        name="responses",
        handler=responses,
        page=SchemaPage(
            body=ResponsesRequest,
            answer="id object created_at status model output usage",
            streams=True,
        ),
    ),
    "/v1/messages": Endpoint(
        name="anthropic_messages",
        handler=messages,
        page=SchemaPage(
            body=MessagesRequest,
            answer="id type role model content stop_reason usage",
            streams=True,
        ),
        errors=ANTHROPIC_ERRORS,
    ),
    "/v1/messages/count_tokens": Endpoint(
        name="count_tokens",
        handler=count_message_tokens,
        runs_model=False,
        page=SchemaPage(body=CountTokensRequest, answer="input_tokens"),
        errors=ANTHROPIC_ERRORS,
    ),
    "/generate": Endpoint(
        name="generate",
        handler=generate,
        page=SchemaPage(
            body=GenerateRequest, answer="text output_ids meta_info", streams=True, lists=True
        ),
    ),
    "/tokenize": _TOKENIZE,
    "/v1/tokenize": _TOKENIZE,
    "/detokenize": _DETOKENIZE,
    "/v1/detokenize": _DETOKENIZE,
    "/health_generate": Endpoint(
        name="health_generate", handler=health_generate, runs_model=False, methods=_GET
    ),
}
"""Maps the path, or its pattern, to its endpoint, for those that need nothing of the frontend but
its launcher.
"""


def endpoints(
    exchanges: Callable[[], Iterable[Exchange]],
    *,
    allow_abort_all: bool,
    abort_elsewhere: Callable[[str | None], Awaitable[int]] | None = None,
) -> dict[str, Endpoint]:
    """Returns every endpoint of a frontend by its path.

    Args:
        exchanges: those that are being answered.
        allow_abort_all: whether one client may end the requests of all.
        abort_elsewhere: aborts in sibling processes; None where there are none.
    """
    abort = Endpoint(
        name="abort_request",
        runs_model=False,
        handler=Aborter(exchanges, allow_all=allow_abort_all, elsewhere=abort_elsewhere),
        page=SchemaPage(body=AbortRequest, answer="aborted"),
    )
    return ENDPOINTS | {"/abort_request": abort}
