"""Answers of an engine that does not hold to the schema: an error where nothing was shown, a line
in the log of a stream.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from starter.process import Process
from tests.kit.fleet import Fleet

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
HELD: dict[str, Any] = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}
}
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def careless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Process]]:
    """A fleet whose worker holds to no schema, and its frontend.

    Answers end by themselves, within some tokens.
    """
    directory: Path = tmp_path_factory.mktemp("careless")
    fleet = Fleet(directory)
    frontend = fleet.frontend()
    fast = ("--served-model-name", "demo", "--sim-speedup", "0", "--sim-output-tokens-mean", "4")
    fleet.start("tests.fleet.careless_worker", "--engine", "sim", "--frontend", fleet.mesh, *fast)
    fleet.wait_for_workers(1)
    yield fleet, frontend
    fleet.stop()


def test_a_whole_answer_is_an_error(careless: tuple[Fleet, Process]) -> None:
    with careless[0].client() as client, pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="demo", messages=HI, **HELD)
    assert raised.value.code == "answer_not_conforming"
    assert raised.value.type == "server_error"
    assert "the text is no JSON" in raised.value.message


def test_other_endpoints_too(careless: tuple[Fleet, Process]) -> None:
    asked = {
        "/v1/completions": {
            "model": "demo",
            "prompt": "Hi",
            "max_tokens": 500,
            "structured_outputs": {"json": SCHEMA},
        },
        "/v1/responses": {
            "model": "demo",
            "input": "Hi",
            "text": {"format": {"type": "json_schema", "name": "it", "schema": SCHEMA}},
        },
        "/v1/messages": {
            "model": "demo",
            "max_tokens": 500,
            "messages": HI,
            "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
        },
    }
    for path, body in asked.items():
        answer = httpx.post(careless[0].url + path, json=body, timeout=60)
        assert (answer.status_code, "does not conform" in answer.json()["error"]["message"]) == (
            500,
            True,
        ), path


def test_an_answer_that_was_cut_off_is_none(careless: tuple[Fleet, Process]) -> None:
    with careless[0].client() as client:
        cut = client.chat.completions.create(
            model="demo", messages=HI, max_tokens=3, extra_body={"min_tokens": 3, **HELD}
        ).choices[0]
    assert (cut.finish_reason, bool(cut.message.content)) == ("length", True)


def test_a_stream_has_its_finish_and_the_log_says_so(careless: tuple[Fleet, Process]) -> None:
    fleet, frontend = careless
    said = frontend.output().count("does not conform")
    with fleet.client() as client:
        chunks = list(
            client.chat.completions.create(model="demo", messages=HI, stream=True, **HELD)
        )
    assert chunks[-1].choices[0].finish_reason == "stop"
    fleet.wait_until(
        lambda: frontend.output().count("does not conform") > said, "the line in the log"
    )
