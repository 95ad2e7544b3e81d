"""Vectors of a real model on real SGLang, through the unmodified OpenAI client, against
transformers.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from starter.ports import free_port
from tests.fault.system_pages import SystemPages
from tests.fleet.bert_models import minilm_dir, reference
from tests.fleet.real_fleets import RealFleets
from tests.kit.fleet import Fleet

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

MODEL = "minilm"
WORKER = ("--model-path", str(minilm_dir()), "--served-model-name", MODEL, "--embedding-worker")
LONG = " ".join(
    f"sentence number {index} says that {index} is not {index + 1}." for index in range(60)
)
"""More than the 511 tokens that the model takes."""

TEXTS = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A woman is playing violin.",
    "x",
    "Ünïcödé, 漢字 and 🙂 emoji",
    "  many   spaces\n\nand lines ",
    LONG[:1_500],
]


@pytest.fixture(scope="module")
def pages() -> SystemPages:
    """Of the worker."""
    return SystemPages(free_port())


@pytest.fixture(scope="module")
def real(real_fleets: RealFleets, pages: SystemPages) -> Fleet:
    """A frontend and one worker with real SGLang serving MiniLM."""
    return real_fleets.of((*WORKER, "--canary-wait-time", "0.3", "--system-port", str(pages.port)))


@pytest.fixture
def client(real: Fleet) -> Iterator[openai.OpenAI]:
    with real.client() as client:
        yield client


@pytest.fixture(scope="module")
def with_long() -> NDArray[np.float64]:
    """The reference's vectors of TEXTS and of LONG, shape [texts + 1, 384]."""
    return np.array(reference("embed", minilm_dir(), given=[*TEXTS, LONG]))


@pytest.fixture(scope="module")
def wanted(with_long: NDArray[np.float64]) -> NDArray[np.float64]:
    return with_long[:-1]


def _vectors(answer: openai.types.CreateEmbeddingResponse) -> NDArray[np.float64]:
    assert [row.index for row in answer.data] == list(range(len(answer.data)))
    return np.array([row.embedding for row in answer.data])


def test_vectors_are_those_of_the_reference(
    client: openai.OpenAI, wanted: NDArray[np.float64]
) -> None:
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    vectors = _vectors(answer)
    assert vectors.shape == (len(TEXTS), 384)
    assert np.abs(vectors - wanted).max() < 1e-3
    assert np.abs(wanted).max() > 0.1  # so that the bound above is a tight one
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 300
    one_by_one = [_vectors(client.embeddings.create(model=MODEL, input=text))[0] for text in TEXTS]
    assert np.abs(np.array(one_by_one) - wanted).max() < 1e-3


def test_floats_and_base64_say_the_same(client: openai.OpenAI) -> None:
    # what the client asks for by default
    as_base64 = client.embeddings.create(model=MODEL, input=TEXTS[0])
    as_floats = client.embeddings.create(model=MODEL, input=TEXTS[0], encoding_format="float")
    assert np.array_equal(np.float32(_vectors(as_base64)), np.float32(_vectors(as_floats)))
    assert as_base64.usage.prompt_tokens == 8  # [CLS] a man is eating food . [SEP]


def test_fewer_dimensions_are_the_first_ones_at_length_one(
    client: openai.OpenAI, wanted: NDArray[np.float64]
) -> None:
    vectors = _vectors(client.embeddings.create(model=MODEL, input=TEXTS[:2], dimensions=128))
    heads = wanted[:2, :128]
    assert np.abs(vectors - heads / np.linalg.norm(heads, axis=1, keepdims=True)).max() < 2e-3
    with pytest.raises(
        openai.BadRequestError, match="dimensions is 385, but the vectors of this model have 384"
    ):
        client.embeddings.create(model=MODEL, input="a", dimensions=385)


def test_token_ids_are_taken_as_they_are(
    client: openai.OpenAI, wanted: NDArray[np.float64]
) -> None:
    ids = [101, 1037, 2158, 2003, 5983, 2833, 1012, 102]
    for given in (ids, [ids, ids]):
        vectors = _vectors(client.embeddings.create(model=MODEL, input=given))
        assert np.abs(vectors - wanted[0]).max() < 1e-3


def test_too_long_a_text_is_refused_or_cut(
    client: openai.OpenAI, with_long: NDArray[np.float64]
) -> None:
    with pytest.raises(
        openai.BadRequestError,
        match=r"at most 511 tokens at once. However, input\[1\] has \d+ tokens",
    ) as refused:
        client.embeddings.create(model=MODEL, input=["a", LONG])
    assert refused.value.param == "input[1]"
    (cut,) = _vectors(
        client.embeddings.create(model=MODEL, input=LONG, extra_body={"truncate_prompt_tokens": -1})
    )
    assert np.abs(cut - with_long[-1]).max() < 1e-3


def test_likely_pairs_rank_before_others(real: Fleet) -> None:
    documents = [
        "A cheetah is running behind its prey.",
        "Someone is having a meal.",
        "The stock market fell on Monday.",
    ]
    with real.client() as client:
        ranked: Any = client.post(
            "/rerank",
            body={"model": MODEL, "query": "A man is eating pasta.", "documents": documents},
            cast_to=object,
        )
        pairs: Any = client.post(
            "/score",
            body={"model": MODEL, "text_1": ["king", "king"], "text_2": ["queen", "cabbage"]},
            cast_to=object,
        )
    best = ranked["results"][0]
    assert best["index"] == 1
    assert best["document"]["text"] == documents[1]
    queen, cabbage = (row["score"] for row in pairs["data"])
    assert queen > cabbage + 0.1


def test_it_generates_nothing(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="makes vectors of texts"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    with pytest.raises(openai.BadRequestError, match="makes vectors of texts"):
        client.completions.create(model=MODEL, prompt="hello")


def test_its_canaries_are_answered(real: Fleet, pages: SystemPages) -> None:
    real.wait_until(
        lambda: pages.metric("kvmesh_worker_canaries_total", dp_rank="0", result="ok") > 0,
        "a canary is answered",
    )
    assert pages.get("/health")[0] == 200
