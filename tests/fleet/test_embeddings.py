"""Embeddings over several sim workers: order, faults, cancellation, and what is refused.

Vectors there are functions of the text alone.
"""

import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from protocol.tokens import pack_tokens
from starter.pages import http_metric
from starter.ports import free_port
from tests.fault.raw_http import connected, request_bytes
from tests.fault.system_pages import SystemPages
from tests.fleet.test_adapters import post
from tests.kit.fleet import Fleet
from workers.demo_model import demo_model_dir
from workers.sim.embedding import SimEmbedder

MODEL = "vectors"
WORKER = ("--served-model-name", MODEL, "--embedding-worker", "--sim-embedding-dimensions", "32")
FAST = (*WORKER, "--sim-speedup", "0")
SLOW = (*WORKER, "--chunked-prefill-size", "64", "--sim-fault", "slow=40")
"""A step computes a few texts and takes long enough to be met in the midst."""

TEXTS = [f"text number {index} tells of {index * 7} things" for index in range(2_048)]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend, two embedding workers and one that generates."""
    fleet = Fleet(tmp_path_factory.mktemp("vectors"))
    fleet.frontend()
    for _ in range(2):
        fleet.worker(*FAST)
    fleet.worker("--served-model-name", "chat", "--sim-speedup", "0")
    fleet.wait_for_workers(3)
    yield fleet
    fleet.stop()


@pytest.fixture
def client(vectors: Fleet) -> Iterator[openai.OpenAI]:
    with vectors.client() as client:
        yield client


@pytest.fixture(scope="module")
def wanted() -> NDArray[np.float32]:
    """What the engine makes of TEXTS, shape [texts, 32]."""
    tokenizer, embedder = (
        Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json")),
        SimEmbedder(32),
    )
    return np.array([embedder.vector(pack_tokens(tokenizer.encode(text).ids)) for text in TEXTS])


def _rows(answer: openai.types.CreateEmbeddingResponse) -> NDArray[np.float64]:
    assert [row.index for row in answer.data] == list(range(len(answer.data)))
    return np.array([row.embedding for row in answer.data])


def test_as_many_texts_as_openai_allows_come_back_in_order(
    client: openai.OpenAI, wanted: NDArray[np.float32]
) -> None:
    answer = client.embeddings.create(model=MODEL, input=TEXTS)
    rows = _rows(answer)
    assert np.array_equal(np.float32(rows), wanted)
    assert len(np.unique(wanted, axis=0)) > 1_500  # so that another order would show
    assert answer.usage.prompt_tokens > 3 * 2_048


def test_a_batch_is_one_request_of_all_its_tokens(vectors: Fleet, client: openai.OpenAI) -> None:
    def counted(name: str, **labels: str) -> float:
        return http_metric(vectors.url, f"dynamo_frontend_{name}", model=MODEL, **labels)

    ended = {"endpoint": "embeddings", "status": "success"}
    names = "input_sequence_tokens_sum", "embedding_latency_seconds_count"
    client.embeddings.create(model=MODEL, input="the first one")
    before = counted("requests_total", **ended), *map(counted, names)
    answer = client.embeddings.with_raw_response.create(model=MODEL, input=TEXTS[:5])
    tokens = answer.parse().usage.prompt_tokens
    assert counted("requests_total", **ended) == before[0] + 1
    assert counted(names[0]) == before[1] + tokens
    assert counted(names[1]) == before[2] + 1
    (line,) = [
        line
        for line in vectors.processes[0].output().splitlines()
        if f" {answer.headers['x-request-id']} /v1/embeddings" in line
    ]
    assert re.search(rf" model={MODEL} worker=\S+/0 prompt={tokens} .* ok$", line), line


def test_a_large_answer_in_decimals_is_that_in_base64(client: openai.OpenAI) -> None:
    decimals = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    assert np.array_equal(
        np.float32(_rows(decimals)),
        np.float32(_rows(client.embeddings.create(model=MODEL, input=TEXTS))),
    )


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"input": ""}, "input", "length >= 1"),
        ({"input": []}, "input", "length >= 1"),
        ({"input": ["a", ""]}, "input[1]", "length >= 1"),
        ({"input": [[1], []]}, "input[1]", "length >= 1"),
        ({"input": ["a", 1]}, "input", "only strings"),
        ({"input": ["a"] * 2_049}, "input", "At most 2048"),
        ({"input": [[1, 2_048]]}, "input", "vocabulary of 2048"),
        ({"input": "a", "dimensions": 33}, "dimensions", "have 32"),
        ({"input": "a", "dimensions": 0}, "dimensions", ">= 1"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "hex"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "-1 or 1 to"),
        ({"input": "word " * 40_000}, "input", "at most 32767 tokens at once"),
        ({"input": "x" * 20_000_000}, "input", "at most 32767 tokens at once"),
        ({"model": "chat", "input": "a"}, "model", "makes no embeddings"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(
    client: openai.OpenAI, body: dict[str, Any], param: str, message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/embeddings", body={"model": MODEL, **body}, cast_to=object)
    assert refused.value.param == param
    assert message in refused.value.message


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/rerank", {"query": "a", "documents": []}, "documents"),
        ("/rerank", {"query": "", "documents": ["a"]}, "query"),
        ("/rerank", {"query": "a", "documents": [{"image": "a"}]}, "documents[0].text"),
        ("/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1"),
        ("/score", {"model": "chat", "text_1": "a", "text_2": "b"}, "model"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_name(
    client: openai.OpenAI, path: str, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(path, body={"model": MODEL, **body}, cast_to=object)
    assert refused.value.param == param


def test_texts_that_share_words_rank_first(client: openai.OpenAI) -> None:
    documents = ["dogs run far away", "the cat sat", "a cat sat on the mat"]
    answer: Any = client.post(
        "/rerank",
        body={"model": MODEL, "query": "a cat sat on a mat", "documents": documents},
        cast_to=object,
    )
    assert [result["index"] for result in answer["results"]] == [2, 1, 0]
    scores: Any = client.post(
        "/score",
        body={"model": MODEL, "text_1": "the cat sat", "text_2": documents},
        cast_to=object,
    )
    assert scores["data"][1]["score"] == pytest.approx(1.0)


def test_a_model_is_served_for_one_thing(fleet: Fleet) -> None:
    fleet.frontend()
    plain = ("--served-model-name", MODEL, "--sim-speedup", "0")
    fleet.start(
        "workers",
        "--engine",
        "sim",
        "--frontend",
        fleet.mesh,
        *plain,
        env={"DYN_SGL_EMBEDDING_WORKER": "true"},
    )
    fleet.wait_for_workers(1)
    other = fleet.worker(*plain)
    fleet.wait_until(
        lambda: "is served here by embedding workers, and this one is for text" in other.output(),
        "it is refused",
    )


def test_a_batch_outlives_a_worker(fleet: Fleet, wanted: NDArray[np.float32]) -> None:
    fleet.frontend()
    fleet.worker(*FAST)
    dying = fleet.worker(*FAST, "--sim-fault", "crash-after-requests=40")
    fleet.wait_for_workers(2)
    with fleet.client() as client:
        rows = _rows(client.embeddings.create(model=MODEL, input=TEXTS))
    assert dying.popen.wait(10) == -signal.SIGKILL
    assert np.array_equal(np.float32(rows), wanted)


def test_a_batch_is_shared_and_ends_with_its_client(fleet: Fleet) -> None:
    fleet.frontend()
    for _ in range(2):
        fleet.worker(*SLOW)
    fleet.wait_for_workers(2)

    def running() -> list[int]:
        return [worker["requests"][0] for worker in fleet.get("/health")[1]["workers"]]

    with connected(fleet) as connection:
        connection.sendall(request_bytes({"model": MODEL, "input": TEXTS}, path="/v1/embeddings"))
        fleet.wait_until(lambda: min(running()) > 8, "both workers have some of it")
    fleet.wait_until(lambda: running() == [0, 0], "nothing of it is left")


def test_a_batch_ends_with_its_deadline(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*SLOW)
    fleet.wait_for_workers(1)
    with fleet.client() as client, pytest.raises(openai.APIStatusError) as ended:
        client.embeddings.create(
            model=MODEL, input=TEXTS, extra_headers={"x-request-timeout-ms": "300"}
        )
    assert ended.value.status_code == 504
    fleet.wait_until(
        lambda: fleet.get("/health")[1]["workers"][0]["requests"] == [0], "nothing of it is left"
    )


@pytest.mark.parametrize(
    ("route", "fields"),
    [("flush_cache", {"when_busy": "abort"}), ("pause_generation", {"mode": "abort"})],
)
def test_a_batch_that_an_operator_ends_is_told_so(
    fleet: Fleet, route: str, fields: dict[str, Any]
) -> None:
    fleet.frontend()
    pages = SystemPages(free_port())
    fleet.worker(*SLOW, "--system-port", str(pages.port))
    fleet.wait_for_workers(1)

    def running() -> int:
        return fleet.get("/health")[1]["workers"][0]["requests"][0]

    with fleet.client() as client, ThreadPoolExecutor(1) as thread:
        batch = thread.submit(client.embeddings.create, model=MODEL, input=TEXTS)
        fleet.wait_until(lambda: running() > 8, "it has some of it")
        assert post(pages, f"/engine/{route}", fields)[0] == 200
        with pytest.raises(openai.APIStatusError) as ended:
            batch.result(30)
    assert (ended.value.status_code, ended.value.code) == (499, "request_aborted")
    fleet.wait_until(lambda: running() == 0, "nothing of it is left")
