"""The clients, pointed at the stack."""

import os
from collections.abc import Iterator

import httpx
import openai
import pytest

TIMEOUT_S = 60


@pytest.fixture(scope="session")
def url() -> str:
    """The stack's base URL, without `/v1`."""
    return os.environ["KVMESH_URL"]


@pytest.fixture(scope="session")
def model() -> str:
    return os.environ["KVMESH_CHAT_MODEL"]


@pytest.fixture(scope="session")
def embedding_model() -> str:
    return os.environ["KVMESH_EMBEDDING_MODEL"]


@pytest.fixture(scope="session")
def image_model() -> str:
    return os.environ["KVMESH_IMAGE_MODEL"]


@pytest.fixture(scope="session")
def video_model() -> str:
    return os.environ["KVMESH_VIDEO_MODEL"]


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[openai.OpenAI]:
    """The unmodified OpenAI client; a request that fails is not sent again."""
    with openai.OpenAI(
        base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=TIMEOUT_S
    ) as client:
        yield client


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    """For routes that no client library speaks."""
    with httpx.Client(base_url=url, timeout=TIMEOUT_S) as http:
        yield http
