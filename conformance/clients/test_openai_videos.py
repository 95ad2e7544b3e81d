"""`openai`'s videos."""

from typing import Any

import openai
import pytest

from conformance.clients.exact import exact

ASKED: dict[str, Any] = {
    "prompt": "a red circle",
    "size": "1280x720",  # the client's type knows few
    "seconds": "1",
    "extra_body": {"nvext": {"fps": 8, "num_inference_steps": 2}},
}


def test_a_video_is_begun_followed_fetched_and_deleted(
    client: openai.OpenAI, video_model: str
) -> None:
    begun = exact(client.videos.create(model=video_model, **ASKED))
    assert begun.status in ("queued", "in_progress", "completed")
    done = exact(client.videos.poll(begun.id, poll_interval_ms=50))
    assert (done.status, done.progress) == ("completed", 100)
    assert client.videos.download_content(done.id).read()[4:8] == b"ftyp"
    (listed,) = [each for each in client.videos.list() if each.id == begun.id]
    assert exact(listed) == done
    assert exact(client.videos.delete(begun.id)).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(begun.id)


BAD: list[tuple[dict[str, Any], str]] = [({"size": "wide"}, "size"), ({"seconds": "0"}, "seconds")]


@pytest.mark.parametrize(("options", "param"), BAD, ids=[param for _, param in BAD])
def test_mistakes_are_said(
    client: openai.OpenAI, video_model: str, options: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.videos.create(model=video_model, **{**ASKED, **options})
    assert raised.value.param == param


def test_what_cannot_be_done_is_refused(client: openai.OpenAI, video_model: str) -> None:
    begun = client.videos.create(model=video_model, **ASKED)
    with pytest.raises(openai.BadRequestError):
        client.videos.remix(begun.id, prompt="a blue one")
    client.videos.delete(begun.id)
