"""A cross-encoder on real SGLang: the numbers of /v1/rerank and /v1/score are those of
transformers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.fleet.bert_models import minilm_dir, reference
from tests.fleet.real_fleets import RealFleets
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

MODEL = "cross-encoder"
QUERY = "What is the capital of France?"
DOCUMENTS = [
    "Paris is the capital of France.",
    "Berlin lies on the Spree.",
    "x",
    "the quick brown fox " * 40,
    "日本 🙂",
]


LONG = "words of a document that is longer than the model takes " * 100
TURNED = [[QUERY, DOCUMENTS[0]], [DOCUMENTS[0], QUERY]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cross-encoder")
    reference("build", directory, minilm_dir() / "tokenizer.json")
    return directory


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets, model: Path) -> Fleet:
    """A frontend and one worker with real SGLang; what the model is for is found out from its
    files.
    """
    model_path = ("--model-path", str(model), "--served-model-name", MODEL)
    return real_fleets.of((*model_path, "--dtype", "float32"))


@pytest.fixture(scope="module")
def wanted(model: Path) -> dict[tuple[str, str], float]:
    """The reference's score of each pair."""
    pairs = [*TURNED, *([QUERY, document] for document in (*DOCUMENTS, LONG))]
    scores = reference("score", model, given=pairs)
    return {(one, other): score for (one, other), score in zip(pairs, scores, strict=True)}


@pytest.fixture
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


def _post(client: openai.OpenAI, path: str, **body: Any) -> Any:
    return client.post(path, body={"model": MODEL, **body}, cast_to=object)


def test_documents_have_the_scores_of_the_reference(
    client: openai.OpenAI, wanted: dict[tuple[str, str], float]
) -> None:
    right = [wanted[QUERY, document] for document in DOCUMENTS]
    answer = _post(client, "/rerank", query=QUERY, documents=DOCUMENTS)
    scores = {result["index"]: result["relevance_score"] for result in answer["results"]}
    assert [scores[index] for index in range(len(DOCUMENTS))] == pytest.approx(right, abs=1e-3)
    assert max(right) - min(right) > 0.1  # so that the bound above is a tight one
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    best = _post(
        client,
        "/rerank",
        query=QUERY,
        documents=[{"text": one} for one in DOCUMENTS],
        top_n=1,
        return_documents=False,
    )
    assert [result["index"] for result in best["results"]] == [next(iter(scores))]
    assert "document" not in best["results"][0]


def test_the_two_texts_of_a_pair_are_told_apart(
    client: openai.OpenAI, wanted: dict[tuple[str, str], float]
) -> None:
    right = [wanted[one, other] for one, other in TURNED]
    answer = _post(
        client, "/score", text_1=[one for one, _ in TURNED], text_2=[other for _, other in TURNED]
    )
    assert [row["score"] for row in answer["data"]] == pytest.approx(right, abs=1e-3)
    assert abs(right[0] - right[1]) > 0.01


def test_too_long_a_document_is_refused_or_cut_at_its_end(
    client: openai.OpenAI, wanted: dict[tuple[str, str], float]
) -> None:
    with pytest.raises(
        openai.BadRequestError, match=r"at most 511 tokens at once. However, documents\[0\]"
    ):
        _post(client, "/rerank", query=QUERY, documents=[LONG])
    answer = _post(client, "/rerank", query=QUERY, documents=[LONG], truncate_prompt_tokens=-1)
    assert answer["results"][0]["relevance_score"] == pytest.approx(wanted[QUERY, LONG], abs=1e-3)


def test_it_makes_no_vectors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="compares two texts and makes no vectors"):
        client.embeddings.create(model=MODEL, input="hello")
