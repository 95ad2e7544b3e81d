"""`openai`'s embeddings."""

import base64
import math
from array import array
from typing import Any

import openai
import pytest

from conformance.clients.exact import exact

DIMENSIONS = 384


def test_the_client_reads_its_own_default(client: openai.OpenAI, embedding_model: str) -> None:
    answer = exact(client.embeddings.create(model=embedding_model, input="a cat"))
    assert len(answer.data[0].embedding) == DIMENSIONS
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0


INPUTS: list[tuple[Any, int]] = [
    (["a cat", "a dog"], 2),
    ([101, 1037, 102], 1),
    ([[101, 1037, 102], [101, 102]], 2),
]


@pytest.mark.parametrize(("texts", "count"), INPUTS, ids=["texts", "tokens", "lists of tokens"])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_inputs_of_every_kind(
    client: openai.OpenAI, embedding_model: str, texts: Any, count: int, encoding: Any
) -> None:
    answer = client.embeddings.create(model=embedding_model, input=texts, encoding_format=encoding)
    if encoding == "float":
        exact(answer)
    assert [each.index for each in answer.data] == list(range(count))


def test_base64_holds_the_same_floats(client: openai.OpenAI, embedding_model: str) -> None:
    plain = (
        client.embeddings.create(model=embedding_model, input="a cat", encoding_format="float")
        .data[0]
        .embedding
    )
    packed: Any = (
        client.embeddings.create(model=embedding_model, input="a cat", encoding_format="base64")
        .data[0]
        .embedding
    )
    assert list(array("f", base64.b64decode(packed))) == pytest.approx(plain, abs=1e-5)


def test_fewer_dimensions_have_length_one(client: openai.OpenAI, embedding_model: str) -> None:
    vector = (
        client.embeddings.create(model=embedding_model, input="a cat", dimensions=64)
        .data[0]
        .embedding
    )
    assert len(vector) == 64
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-3)


def test_a_cat_is_nearer_to_a_kitten_than_to_a_tax(
    client: openai.OpenAI, embedding_model: str
) -> None:
    cat, kitten, tax = (
        each.embedding
        for each in client.embeddings.create(
            model=embedding_model, input=["a cat", "a kitten", "income tax law"]
        ).data
    )
    assert _dot(cat, kitten) > _dot(cat, tax)


def _dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": []}, "input"),
    ({"input": "x", "dimensions": 0}, "dimensions"),
]


@pytest.mark.parametrize(("options", "param"), BAD, ids=[param for _, param in BAD])
def test_mistakes_are_said(
    client: openai.OpenAI, embedding_model: str, options: Any, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model=embedding_model, **options)
    assert (raised.value.param or "").startswith(param)


def test_each_model_does_its_own(client: openai.OpenAI, model: str, embedding_model: str) -> None:
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=model, input="x")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model=embedding_model, messages=[{"role": "user", "content": "x"}]
        )
