"""Each parameter is honoured, refused by its name, or named as one without effect; what happened is
PARAMETERS.md.

With KVMESH_WRITE=1 the file is written; otherwise it must say what happened.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from conformance.parameters import (
    chat,
    completions,
    embeddings,
    image_edits,
    images,
    responses,
    videos,
)
from conformance.parameters.exchange import Case, Endpoint
from conformance.parameters.names import NAMES
from conformance.parameters.table import Row, written

FILE = Path(__file__).parents[1] / "PARAMETERS.md"
PARTS = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
    "/v1/responses": responses,
    "/v1/images/generations": images,
    "/v1/images/edits": image_edits,
    "/v1/videos": videos,
}
MODELS = {
    "/v1/embeddings": "KVMESH_EMBEDDING_MODEL",
    "/v1/images/generations": "KVMESH_IMAGE_MODEL",
    "/v1/images/edits": "KVMESH_IMAGE_MODEL",
    "/v1/videos": "KVMESH_VIDEO_MODEL",
}
"""Path → the variable that names a model for it, where that is not the chat model."""
CASES = [(path, case) for path, part in PARTS.items() for case in part.CASES]


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    """What happened, filled by the tests in order."""
    return {path: [] for path in PARTS}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(base_url=os.environ["KVMESH_URL"], timeout=60) as http:
        yield http


@pytest.mark.parametrize("path", PARTS)
def test_no_parameter_of_the_client_is_forgotten(path: str) -> None:
    assert {case.name for case in PARTS[path].CASES} == NAMES[path]


@pytest.mark.parametrize(
    ("path", "case"), CASES, ids=[f"{path} {case.label}" for path, case in CASES]
)
def test_none_is_silently_dropped(
    http: httpx.Client, rows: dict[str, list[Row]], path: str, case: Case
) -> None:
    model = os.environ[MODELS.get(path, "KVMESH_CHAT_MODEL")]
    outcome = case.outcome(Endpoint(http, path, {"model": model, **PARTS[path].BASE}))
    rows[path].append(Row(case.name, case.value, outcome))


def test_the_table_says_so(rows: dict[str, list[Row]]) -> None:
    text = written(rows)
    if os.environ.get("KVMESH_WRITE") == "1":
        FILE.write_text(text)
    assert FILE.read_text() == text, "make conformance ARGS=--write"
