"""Answers with pictures, over workers that have them or not."""

import base64
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from frontend.api.images.answers import ImageAnswer, Wanted
from frontend.http.exchange import Exchange
from frontend.http.ignored import Ignored
from protocol.diffusion import Diffused, Output, Progress
from protocol.errors import MeshError, WorkerLost
from tests.unit.http.test_exchange import Server

B64 = Wanted("high", as_url=False, streams=False, event="image_generation")
STREAM = Wanted("high", as_url=False, streams=True, event="image_generation")


def output(name: str, size_bytes: int = 10) -> Output:
    return Output(name * 48, "png", size_bytes, 4, 4)


class FakeOutputs:
    """Has some outputs, in pieces; fails behind `fails_behind` pieces."""

    def __init__(self, names: str, fails_behind: int = 1_000) -> None:
        self._names = names
        self._fails_behind = fails_behind

    async def pieces(self, asked: Output) -> AsyncGenerator[bytes]:
        if asked.output_id[0] not in self._names:
            raise WorkerLost("gone")
        for number in range(5):
            if number == self._fails_behind:
                raise WorkerLost("lost")
            yield b"ab"


async def answered(outputs: Any, wanted: Wanted, *shown: str, made: str = "a") -> Any:
    """What was sent, and with which error it ended."""
    server = Server([b""], host="x")
    server.exchange.ignored = Ignored("ignore")

    async def work(exchange: Exchange) -> None:
        answer = ImageAnswer(exchange, outputs, wanted)
        for name in shown:
            await answer.show(Progress(50, preview=output(name)))
        await (answer.end if wanted.streams else answer.send)(
            Diffused([output(each) for each in made])
        )

    error = await server.answer(work)
    bodies = b"".join(each["body"] for each in server.sent if "body" in each)
    return server, bodies, error


async def test_pictures_are_written_in_pieces_that_are_one_json() -> None:
    server, body, error = await answered(FakeOutputs("abc"), B64, made="abc")
    assert error is None
    data = json.loads(body)["data"]
    assert [base64.b64decode(each["b64_json"]) for each in data] == [b"ab" * 5] * 3
    assert max(len(each.get("body", b"")) for each in server.sent) < 400


async def test_what_is_gone_is_an_error_before_anything_is_sent() -> None:
    server, body, error = await answered(FakeOutputs("bc"), B64, made="abc")
    assert isinstance(error, WorkerLost)
    assert server.starts == [502]
    assert json.loads(body)["error"]["code"] == "worker_lost"


@pytest.mark.parametrize("behind", [2, 4])
async def test_behind_half_a_picture_nothing_is_sent(behind: int) -> None:
    server, body, error = await answered(FakeOutputs("a", behind), B64)
    assert isinstance(error, MeshError)
    assert server.starts == [200]
    assert server.sent[-1]["more_body"]
    assert b"error" not in body


async def test_a_preview_that_is_gone_is_left_out() -> None:
    server, body, error = await answered(FakeOutputs("a"), STREAM, "p", "a", "p")
    assert error is None
    events = [json.loads(each[6:]) for each in body.decode().split("\n") if each[:6] == "data: "]
    assert [event["type"].split(".")[1] for event in events] == ["partial_image", "completed"]
    assert not server.sent[-1].get("more_body", False)


async def test_a_preview_that_is_lost_halfway_cuts_the_stream() -> None:
    server, body, error = await answered(FakeOutputs("a", 2), STREAM, "a")
    assert isinstance(error, WorkerLost)
    assert body.endswith(base64.b64encode(b"ab" * 2)[:4])
    assert server.sent[-1]["more_body"]


async def test_a_picture_that_is_gone_is_an_event_of_a_stream_that_began() -> None:
    _, body, error = await answered(FakeOutputs("a"), STREAM, "a", made="b")
    assert isinstance(error, WorkerLost)
    assert b'"code":"worker_lost"' in body
    assert body.endswith(b"data: [DONE]\n\n")
