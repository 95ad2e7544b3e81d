"""The endpoints that work with vectors take these bodies: OpenAI's embeddings, Cohere's and Jina's
rerank, vLLM's score.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from frontend.api.fields.schemas import TokenId
from frontend.api.fields.vectors import VectorFields

INPUTS_MAX = 2_048
"""One request may have so many texts: OpenAI's bound."""

DIMENSIONS_MAX = 2**20

Input = Annotated[str, Meta(min_length=1)]
TokenIds = Annotated[list[TokenId], Meta(min_length=1)]


class EmbeddingRequest(VectorFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An EmbeddingRequest is the body of POST /v1/embeddings."""

    input: Input | Annotated[list[Input | TokenId | TokenIds], Meta(min_length=1)]
    """Holds one text or several to be embedded, as text or as token ids; a list mixes no kinds.

    Token ids are taken as they are: no [CLS] is added.
    """
    encoding_format: Literal["float", "base64"] | None = None
    """Says how vectors are written: base64 is that of little-endian float32."""
    dimensions: Annotated[int, Meta(ge=1, le=DIMENSIONS_MAX)] | None = None
    """Keeps so many numbers of each vector, scaled to length one again.

    Good only for models that were trained for it (Matryoshka).
    """


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    """A Document is a text to be ranked, as an object."""

    text: Input


class RerankRequest(VectorFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A RerankRequest is the body of POST /v1/rerank: documents to be put in the order in which
    they match a query.
    """

    query: Input
    documents: Annotated[list[Input | Document], Meta(min_length=1, max_length=INPUTS_MAX)]
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None


class ScoreRequest(VectorFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ScoreRequest is the body of POST /v1/score: pairs of texts, each to be given a number."""

    text_1: Input | Annotated[list[Input], Meta(min_length=1, max_length=INPUTS_MAX)]
    """Holds one text to be compared with each of `text_2`, or as many as those, to be compared one
    by one.
    """
    text_2: Input | Annotated[list[Input], Meta(min_length=1, max_length=INPUTS_MAX)]
