"""Nothing that a frontend or a simulated worker serves blocks its loop: both run under the watch of
tests/kit/blocking.py, as other tests start them.
"""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest

from starter.process import Process
from tests.kit.fleet import Fleet

SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOL: Final = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
HI: Final = [{"role": "user", "content": "Hi"}]
CHAT: Final = {"model": "demo", "messages": HI, "max_tokens": 20}
RESPONSES: Final = {"model": "demo", "input": "Hi", "max_output_tokens": 20, "stream": True}
HELD: Final = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}
}

SHORT: Final = ("--sim-speedup", "0", "--sim-output-tokens-mean", "4")

ASKED: Final[dict[str, tuple[str, dict[str, Any], int]]] = {
    "chat": ("/v1/chat/completions", CHAT, 200),
    "a stream": ("/v1/chat/completions", CHAT | {"stream": True}, 200),
    "choices": ("/v1/chat/completions", CHAT | {"n": 2, "logprobs": True, "stop": ["zz"]}, 200),
    "tools": ("/v1/chat/completions", CHAT | {"tools": [TOOL]}, 200),
    "a call": ("/v1/chat/completions", CHAT | {"tools": [TOOL], "tool_choice": "required"}, 200),
    "a schema": ("/v1/chat/completions", CHAT | HELD | {"max_tokens": 500}, 500),
    "long text": ("/v1/completions", {"model": "demo", "prompt": "some words " * 1000}, 200),
    "ids": ("/v1/completions", {"model": "demo", "prompt": [1, 2, 3], "stream": True}, 200),
    "responses": ("/v1/responses", RESPONSES, 200),
    "messages": ("/v1/messages", {"model": "demo", "max_tokens": 9, "messages": HI}, 200),
    "tokens counted": ("/v1/messages/count_tokens", {"model": "demo", "messages": HI}, 200),
    "generate": ("/generate", {"text": "Hi", "model": "demo"}, 200),
    "tokenize": ("/tokenize", {"model": "demo", "prompt": "Hi"}, 200),
    "embeddings": ("/v1/embeddings", {"model": "vectors", "input": ["a", "b " * 500]}, 200),
    "a wrong field": ("/v1/chat/completions", CHAT | {"max_tokens": "many"}, 400),
    "no model": ("/v1/chat/completions", CHAT | {"model": "none"}, 404),
    "no path": ("/v1/nothing", {}, 404),
    "another type": ("/v1/embeddings", {"model": "demo", "input": "a"}, 400),
}
MAKES_PICTURES: Final = ("--image-diffusion-worker", "--served-model-name", "draws")
SMALL: Final[Any] = "64x48"
PAGES: Final = ("/health", "/live", "/ready", "/metrics", "/v1/models", "/openapi.json", "/docs")


class WatchedFleet:
    """A frontend and workers whose loops are watched."""

    def __init__(self, directory: Path) -> None:
        self.fleet = Fleet(directory)
        self._files = directory
        port, mesh = str(self.fleet.http_port), self.fleet.mesh
        self.frontend = self._start("frontend", "--http-port", port, "--mesh-bind", mesh)

    def worker(self, *arguments: str) -> Process:
        """One on the simulated engine, which takes schemas, for the frontend to validate."""
        mesh, module = self.fleet.mesh, "tests.fleet.careless_worker"
        return self._start(module, "--engine", "sim", "--frontend", mesh, *arguments)

    def blocked(self) -> list[str]:
        """What blocked a loop so far, the calls that led to it behind each."""
        told = [
            line for file in self._files.glob("*.blocked") for line in file.read_text().splitlines()
        ]
        assert told.count("watched") == len(self.fleet.processes)
        return [line for line in told if line != "watched"]

    def _start(self, module: str, *arguments: str) -> Process:
        file = self._files / f"{len(self.fleet.processes)}.blocked"
        watched = [sys.executable, "-m", "tests.kit.watched_program", str(file), module, *arguments]
        return self.fleet.launch(module, watched)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFleet]:
    """Two workers of the model "demo" and one of "vectors"."""
    watched = WatchedFleet(tmp_path_factory.mktemp("watched"))
    try:
        for name in ("w0", "w1"):
            watched.worker("--served-model-name", "demo", "--worker-id", name, *SHORT)
        watched.worker("--served-model-name", "vectors", "--embedding-worker")
        watched.fleet.wait_for_workers(3)
        yield watched
    finally:
        watched.fleet.stop()


@pytest.mark.parametrize("what", ASKED)
def test_no_request_blocks_a_loop(watched: WatchedFleet, what: str) -> None:
    path, body, status = ASKED[what]
    answer = httpx.post(watched.fleet.url + path, json=body, timeout=60)
    assert (watched.blocked(), answer.status_code) == ([], status), answer.text


def test_no_page_does(watched: WatchedFleet) -> None:
    for path in PAGES:
        answer = httpx.get(watched.fleet.url + path, timeout=60)
        assert (watched.blocked(), answer.status_code) == ([], 200), path


def test_nothing_that_is_made_does(watched: WatchedFleet) -> None:
    fleet = watched.fleet
    makers = [
        watched.worker(*kind, "--sim-step-ms", "1")
        for kind in (MAKES_PICTURES, ("--video-generation-worker", "--served-model-name", "films"))
    ]
    fleet.wait_for_workers(5)
    in_base64 = {"prompt": "a fox", "size": "64x48", "response_format": "b64_json"}
    for path, body in (
        ("/v1/images/generations", {"model": "draws"}),
        ("/v1/images/generations", {"model": "draws", "stream": True, "partial_images": 1}),
        ("/v1/videos", {"model": "films"}),
        ("/v1/videos/stream", {"model": "films"}),
    ):
        answer = httpx.post(fleet.url + path, json=in_base64 | body, timeout=60)
        assert (watched.blocked(), answer.status_code) == ([], 200), answer.text
    with fleet.client() as client:
        video = client.videos.create_and_poll(prompt="a fox", size=SMALL, poll_interval_ms=50)
        assert client.videos.download_content(video.id).read()
        assert [each.id for each in client.videos.list()] == [video.id]
        client.videos.delete(video.id)
    for maker in makers:
        assert maker.stop() == 0
    fleet.wait_for_workers(3)
    assert watched.blocked() == []


def test_workers_that_come_die_and_go_do_not(watched: WatchedFleet) -> None:
    fleet = watched.fleet
    slow = ("--served-model-name", "slow", "--sim-speedup", "1")
    workers = {name: watched.worker(*slow, "--worker-id", name) for name in ("w8", "w9")}
    fleet.wait_for_workers(5)
    with fleet.client() as client:
        for name, number in (("w8", signal.SIGKILL), ("w9", signal.SIGTERM)):
            stream = client.completions.create(
                model="slow", prompt="Hi", max_tokens=200, stream=True
            )
            next(iter(stream))
            workers[name].popen.send_signal(number)
            assert list(stream)[-1].choices[0].finish_reason == "length"
        fleet.wait_for_workers(3)
        with pytest.raises(openai.APIStatusError):
            client.completions.create(model="slow", prompt="Hi")
    assert watched.blocked() == []


def test_neither_does_their_end(tmp_path: Path) -> None:
    watched = WatchedFleet(tmp_path)
    try:
        worker = watched.worker("--served-model-name", "demo")
        watched.fleet.wait_for_workers(1)
        assert (worker.stop(), watched.frontend.stop()) == (0, 0)
    finally:
        watched.fleet.stop()
    assert watched.blocked() == []
